"""Losses between live features and a memory: what is believed is pulled together, the rest pushed apart."""
from mprd_pyg.losses.binomial_deviance import BinomialDeviance
from mprd_pyg.losses.info_nce import MultiPositiveInfoNCE
from mprd_pyg.losses.soft_targets import SoftTargets

__all__ = ["BinomialDeviance", "MultiPositiveInfoNCE", "SoftTargets"]
