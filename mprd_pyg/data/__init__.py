"""Datasets as checked image tables: data cards, the table's contract, and reading images."""
from mprd_pyg.data.card import DataCard
from mprd_pyg.data.extraction import extract
from mprd_pyg.data.images import ImageStore, check_images, find_unreadable, read_image
from mprd_pyg.data.schema import CardError, Counts, DataRootError, Evaluation, Repeats, Split
from mprd_pyg.data.splits import random_split, single_shot_draws
from mprd_pyg.data.synthetic import contact_sheet, write_synthetic
from mprd_pyg.data.table import ImageTable, check_table, fingerprint, make_table

__all__ = ["CardError", "Counts", "DataCard", "DataRootError", "Evaluation", "ImageStore", "ImageTable", "Repeats",
           "Split", "check_images", "check_table", "contact_sheet", "extract", "find_unreadable", "fingerprint",
           "make_table", "random_split", "read_image", "single_shot_draws", "write_synthetic"]
