"""Networks that embed images: (B, 3, H, W) -> (B, M, d)."""
from mprd_pyg.models.export import TestFeature, export_program, preprocessing, save_onnx, save_program
from mprd_pyg.models.image_embedder import ImageEmbedder, StripePool
from mprd_pyg.models.pair_classifier import PairClassifier
from mprd_pyg.models.trunk import Trunk, layer_groups
from mprd_pyg.models.trunk_by_name import build_trunk

__all__ = ["ImageEmbedder", "PairClassifier", "StripePool", "TestFeature", "Trunk", "build_trunk", "export_program",
           "layer_groups", "preprocessing", "save_onnx", "save_program"]
