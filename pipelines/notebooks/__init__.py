"""Notebooks, and what they run."""
