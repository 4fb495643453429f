"""What a further method costs: it is written here, with its command, and gets all that the others have."""
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch

from mprd_pyg.data.views import training_view
from mprd_pyg.graph import PairSubgraphDataset
from mprd_pyg.losses import BinomialDeviance
from mprd_pyg.models import ImageEmbedder
from mprd_pyg.relations import KNearest
from mprd_pyg.training import StepSchedule, load_checkpoint, once
from pipelines.command_line import cli
from pipelines.command_line.training_options import add_relation_options, training_parser
from pipelines.command_line.training_run import TrainingRun

STOP: dict[str, int] = {}


def step_taken(name):
    """Ask for a stop, as Ctrl-C would, at the step that a test named."""
    STOP[name] = STOP.get(name, 0) - 1
    if STOP[name] == 0:
        os.kill(os.getpid(), signal.SIGINT)


# -- the method ----------------------------------------------------------------------------------------------------

class NearestAtTheStart:
    """The neighbours at the beginning of an epoch are the positives of its steps."""

    def __init__(self, learner, connect, pairs, k: int = 3, rate: float = 0.5, epochs: int = 2):
        self.learner, self.connect, self.memory, self.pairs = learner, connect, connect.memory, pairs
        self.relation, self.loss, self.rate, self.epochs = KNearest(k), BinomialDeviance(), rate, epochs
        learner.schedule = learner.schedule or StepSchedule((1,))
        self.parts = {**learner.parts, "memory": self.memory, "pairs": pairs}

    def prepare(self):
        self.memory.update(self.rows, self.learner.embed(), 1.0)

    @property
    def rows(self):
        return torch.arange(self.learner.images.num_unlabelled)

    def relabel(self):
        step_taken("relabel")
        graph = self.connect(self.rows)[0]                                  # connect
        self.pairs.keep(self.relation(graph), graph)                        # relate

    def training_step(self, images, rows):
        step_taken("step")
        x = self.learner(images, rows)                                      # embed
        pairs = self.pairs.of(rows)
        self.pairs.add([pairs])
        positives = pairs.edge_index[:, pairs.believed]
        loss = self.loss(x[:, 0], self.memory.bank[0], positives, rows)     # compare
        self.learner.step(loss)
        self.memory.update(rows, x.detach(), self.rate)                     # remember
        return {"loss": loss.detach()}

    def phases(self, epoch):
        yield once("relabel", self.relabel)
        yield self.learner.phase("cnn", epoch, self.training_step)

    def end_epoch(self, epoch):
        return self.pairs.close(epoch)


# -- its command ---------------------------------------------------------------------------------------------------

def make_parser():
    parser = training_parser("nearest", "Train with the neighbours of the epoch's start.", source=False)
    parser.shipped = None
    parser.add_class_arguments(ImageEmbedder, "network", instantiate=False)
    add_relation_options(parser, None)
    parser.add_class_arguments(NearestAtTheStart, "method", skip={"learner", "connect", "pairs"}, instantiate=False)
    parser.add_function_arguments(training_view, "augmentation", skip={"height", "width", "perturbed"})
    return parser


def run(parser, cfg):
    parts = parser.instantiate(cfg)
    this = TrainingRun("nearest", parser, cfg, parts)
    connect = this.memory_graph(parts.knn)
    this.run(NearestAtTheStart(this.learner(this.view()), connect, this.pair_book(connect), **parts.method))


# -- the tests -----------------------------------------------------------------------------------------------------

def train(*argv):
    return cli.main(make_parser(), run, [str(part) for part in argv])


@pytest.fixture(scope="module")
def options(pedestrians):
    return ["--data.card", "synthetic", "--data.root", pedestrians(), "--data.height", 48, "--data.width", 24,
            "--network.arch", "resnet18", "--network.last_stage", 1, "--network.weights", "null", "--knn.k", 4,
            "--learner.batch_size", 8, "--progress", "false", "--accelerator", "cpu"]


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    STOP.clear()
    out = tmp_path_factory.mktemp("nearest") / "whole"
    assert train(*options, "--out", out) == 0
    return out


def test_it_gets_pairs_subgraphs_metrics_and_a_report(whole):
    pairs = pd.read_parquet(whole / "pairs" / "epoch_002.parquet")
    assert (pairs.groupby("anchor").size() == 4).all() and (pairs.groupby("anchor")["believed"].sum() == 3).all()
    saved = PairSubgraphDataset(whole / "subgraphs").table
    assert set(saved["epoch"]) == {1, 2} and len(saved) > 20
    history = pd.read_csv(whole / "logs" / "history.csv")
    assert history["pairs/believed"].tolist() == [3 * pairs["anchor"].nunique()] * 2
    assert {"standard/mAP", "cnn/loss", "pairs/precision"} <= set(history)
    assert "section" in (whole / "report.html").read_text()


@pytest.mark.parametrize(("name", "number"), [("relabel", 2), ("step", 3), ("step", 5)])
def test_stopped_in_either_phase_it_resumes_bit_for_bit(options, whole, tmp_path, name, number):
    STOP.clear()
    STOP[name] = number
    assert train(*options, "--out", tmp_path / "cut") == 130
    STOP.clear()
    assert train("--resume", tmp_path / "cut") == 0
    one, two = (load_checkpoint(folder / "checkpoints" / "last.pt") for folder in (whole, tmp_path / "cut"))
    for part in ("network", "memory"):
        assert all(torch.equal(value, two["method"][part][key]) for key, value in one["method"][part].items())
    for file in sorted(Path(whole / "pairs").iterdir()):
        pd.testing.assert_frame_equal(pd.read_parquet(file), pd.read_parquet(tmp_path / "cut" / "pairs" / file.name))


def test_it_is_short():
    """Under 60 lines for the method, under 25 for its command."""
    parts = Path(__file__).read_text().split("# -- ")
    assert sum(bool(line.strip()) for line in parts[1].splitlines()[1:]) < 60
    assert sum(bool(line.strip()) for line in parts[2].splitlines()[1:]) < 25
