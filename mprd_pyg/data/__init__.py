"""Datasets as checked image tables: data cards, the table's contract, reading images, and random views of them."""
from mprd_pyg.data.archives.extraction import extract
from mprd_pyg.data.batched_view import BatchedTrainingView
from mprd_pyg.data.cards.card import DataCard
from mprd_pyg.data.cards.inspection import Inspection, inspect_root
from mprd_pyg.data.cards.propose import Proposal, propose_card
from mprd_pyg.data.cards.propose_table import propose_table
from mprd_pyg.data.cards.random_choices import random_split, single_shot_draws
from mprd_pyg.data.cards.schema import Counts, DataRootError, Evaluation, Repeats, Split, Table, TableError
from mprd_pyg.data.cards.typed_yaml import CardError
from mprd_pyg.data.image_cache import ImageCache
from mprd_pyg.data.images import ImageStore, check_images, find_unreadable, read_image
from mprd_pyg.data.pedestrian.contact_sheet import contact_sheet
from mprd_pyg.data.pedestrian.synthetic import write_synthetic
from mprd_pyg.data.styles.camstyle import find_camstyle
from mprd_pyg.data.styles.colour_statistics import CameraStatistics, StyleTransfer
from mprd_pyg.data.styles.random_style import CamStyleImages, StatisticsStyle
from mprd_pyg.data.table import ImageTable, check_table, fingerprint, make_table

__all__ = ["BatchedTrainingView", "CamStyleImages", "CameraStatistics", "CardError", "Counts", "DataCard",
           "DataRootError", "Evaluation", "ImageCache", "ImageStore", "ImageTable", "Inspection", "Proposal",
           "Repeats", "Split", "StatisticsStyle", "StyleTransfer", "Table", "TableError", "check_images",
           "check_table", "contact_sheet", "extract", "find_camstyle", "find_unreadable", "fingerprint",
           "inspect_root", "make_table", "propose_card", "propose_table", "random_split", "read_image",
           "single_shot_draws", "write_synthetic"]
