"""Datasets as they are obtained: archives unpacked into checked files, CUHK03's MATLAB file among them."""
