"""Networks that embed images: (B, 3, H, W) -> (B, M, d)."""
from mprd_pyg.models.image_embedder import ImageEmbedder, StripePool
from mprd_pyg.models.trunk import build_trunk

__all__ = ["ImageEmbedder", "StripePool", "build_trunk"]
