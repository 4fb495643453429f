"""Tiny runs to hit, and limits to hit them with."""
import resource
from contextlib import contextmanager

import pytest

from pipelines import mprd
from pipelines.command_line import cli

TINY = ["--data.card", "synthetic", "--data.height", "48", "--data.width", "24", "--network.arch", "resnet18",
        "--network.last_stage", "1", "--network.weights", "null", "--progress", "false", "--accelerator", "cpu",
        "--pretrain", "false", "--meta_identities", "0", "--method.epochs", "2", "--relation", "KNearest",
        "--learner.batch_size", "8"]


@contextmanager
def file_size_limit(size):
    """No file may grow beyond ``size`` bytes: a stand-in for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def tiny(pedestrians):
    """``tiny(out, *options)`` runs MPRD in a few seconds; returns its status."""
    root = str(pedestrians(identities=(5, 4)))

    def run(out, *options):
        return cli.main(mprd.make_parser(), mprd.run, ["--data.root", root, *TINY, "--out", str(out), *options])
    run.root = root
    return run
