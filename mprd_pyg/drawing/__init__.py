"""Pictures: pair subgraphs as the classifier sees them."""
from mprd_pyg.drawing.pair_drawing import draw_pair

__all__ = ["draw_pair"]
