"""A gallery of images as a search index."""
from mprd_pyg.retrieval.gallery_scan import GalleryUpdate
from mprd_pyg.retrieval.gallery_search import GallerySearch

__all__ = ["GallerySearch", "GalleryUpdate"]
