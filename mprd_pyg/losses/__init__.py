"""Losses between live features and a memory: what is believed is pulled together, the rest pushed apart."""
from mprd_pyg.losses.binomial_deviance import BinomialDeviance

__all__ = ["BinomialDeviance"]
