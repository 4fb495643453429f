"""Looking through a run's pairs in a notebook, and saying what they are: ``PairExplorer(run)``."""
from pipelines.explorer.pair_explorer import PairExplorer

__all__ = ["PairExplorer"]
