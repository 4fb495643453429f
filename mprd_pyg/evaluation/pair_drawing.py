"""A picture of a pair subgraph: what the classifier was shown."""
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Curve
from torch_geometric.data import Data

from mprd_pyg.data.images import open_rgb
from mprd_pyg.evaluation.pair_layout import PairLayout, lay_out, sides

INK, FAINT, PAPER = "#22262e", "#8a909b", "#fbfaf7"
FIRST, SECOND, OTHER, UNKNOWN = "#0f7d70", "#d9702b", "#9aa1ad", "#d8d5cc"  # frames, by identity
EDGES = LinearSegmentedColormap.from_list("similarity", ["#cfd6e3", "#7d9cd0", "#27509b", "#0d1f52"])
LABELS = {0: "#8a909b", 1: "#22262e", 2: "#7a3fa0", 3: "#a3468f", 4: "#b9577a"}  # badges, by DRNL label
UNIT = 0.62  # inches per tile


class Picture(Figure):
    """A figure that shows itself in a notebook, and is saved by suffix: ``.png``, ``.svg``, ``.pdf``."""

    def _repr_png_(self) -> bytes:
        from io import BytesIO
        buffer = BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()
