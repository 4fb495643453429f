"""Datasets as checked image tables: data cards, the table's contract, and reading images."""
from mprd_pyg.data.batched_view import BatchedTrainingView
from mprd_pyg.data.camera_style import CameraStatistics, StyleTransfer
from mprd_pyg.data.camstyle import find_camstyle
from mprd_pyg.data.card import DataCard
from mprd_pyg.data.extraction import extract
from mprd_pyg.data.image_cache import ImageCache
from mprd_pyg.data.images import ImageStore, check_images, find_unreadable, read_image
from mprd_pyg.data.inspection import Inspection, inspect_root
from mprd_pyg.data.propose import Proposal, propose_card
from mprd_pyg.data.schema import CardError, Counts, DataRootError, Evaluation, Repeats, Split
from mprd_pyg.data.splits import random_split, single_shot_draws
from mprd_pyg.data.styles import CamStyleImages, StatisticsStyle
from mprd_pyg.data.synthetic import contact_sheet, write_synthetic
from mprd_pyg.data.table import ImageTable, check_table, fingerprint, make_table

__all__ = ["BatchedTrainingView", "CamStyleImages", "CameraStatistics", "CardError", "Counts", "DataCard",
           "DataRootError", "Evaluation", "ImageCache", "ImageStore", "ImageTable", "Inspection", "Proposal", "Repeats",
           "Split", "StatisticsStyle", "StyleTransfer", "check_images", "check_table", "contact_sheet", "extract",
           "find_camstyle", "find_unreadable", "fingerprint", "inspect_root", "make_table", "propose_card",
           "random_split", "read_image", "single_shot_draws", "write_synthetic"]
