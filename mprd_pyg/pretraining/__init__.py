"""Pre-training with identity labels on a source domain."""
from mprd_pyg.pretraining.supervised import SupervisedPretraining

__all__ = ["SupervisedPretraining"]
