"""Datasets as they are obtained: archives to unpack."""
