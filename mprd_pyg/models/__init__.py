"""Networks that embed images: (B, 3, H, W) -> (B, M, d)."""
from mprd_pyg.models.export import TestFeature, export_program, preprocessing, save_onnx, save_program
from mprd_pyg.models.image_embedder import ImageEmbedder, StripePool
from mprd_pyg.models.pair_classifier import PairClassifier
from mprd_pyg.models.trunk import build_trunk

__all__ = ["ImageEmbedder", "PairClassifier", "StripePool", "TestFeature", "build_trunk", "export_program",
           "preprocessing", "save_onnx", "save_program"]
