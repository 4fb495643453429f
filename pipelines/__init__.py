"""The scripts: one command per job, each on top of the libraries."""
