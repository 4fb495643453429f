"""Data cards: what a dataset is, how it is laid out, split and checked."""
