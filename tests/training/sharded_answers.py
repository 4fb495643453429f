"""Asks a sharded matrix what is asked of a memory, in every process; for test_processes.py.

Each process keeps the whole matrix beside its share, so that it can tell the right answers by itself.
"""
import itertools
from pathlib import Path

import torch
import torch.nn.functional as F
from torch_geometric.data import Data

from mprd_pyg import processes
from mprd_pyg.cluster_contrast import GroupMemory
from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.graph import KNNGraph, PairSubgraphs
from mprd_pyg.graph.search.lists import camera_lists, nearest_lists
from mprd_pyg.losses import BinomialDeviance, MultiPositiveInfoNCE, SoftTargets
from mprd_pyg.memory import FeatureMemory, ShardedMemory
from mprd_pyg.models import PairClassifier
from mprd_pyg.mprd import GCNRelation
from mprd_pyg.relations import (
    DBSCAN,
    MPLP,
    Constrained,
    Constraints,
    Groups,
    KNearest,
    KReciprocalJaccard,
    NeighbourEdgeProbability,
    SameIdentity,
    Whitened,
)
from mprd_pyg.sharded_rows import ShardedRows
from mprd_pyg.training import MemoryGraph
from paul import Pedal
from paul.branch_loss import BranchLoss

N, D, M, CAMERAS = 203, 8, 2, 3


def memories() -> tuple[FeatureMemory, ShardedMemory]:
    """The same features in both; every fifth image twice, so that similarities tie."""
    x = torch.randn(N, M, D, generator=torch.Generator().manual_seed(3))
    x[4::5] = x[:-4:5]
    both = FeatureMemory(N, D, M), ShardedMemory(N, D, M)
    for memory in both:
        memory.put(torch.arange(N), x)
        memory.update(torch.tensor([0, 200, 7]), x[[5, 6, 8]], 0.25)
    return both


def connected(camera_centered: bool, **options) -> list[MemoryGraph]:
    """The neighbour search of both, exact so that similarities can be compared bit for bit."""
    images = TrainImages(range(N + 4), torch.arange(N + 4) * 7 % CAMERAS, torch.arange(N + 4) % 11,
                         num_unlabelled=N)
    return [MemoryGraph(memory, KNNGraph(index="exact", **options), images, camera_centered) for memory in memories()]


def assert_same_graphs(whole: list[Data], sharded: list[Data]) -> None:
    for one, other in zip(whole, sharded, strict=True):
        assert torch.equal(one.edge_index, other.edge_index) and torch.equal(one.edge_attr, other.edge_attr)
        assert one.num_nodes == other.num_nodes and one.num_capped == other.num_capped
        assert isinstance(other.x, ShardedRows) and torch.equal(one.x, other.x[torch.arange(one.num_nodes)])


def searches() -> None:
    """The same graphs bit for bit: rows, live features, two searches in a row, the meta images and views."""
    rows, draw = torch.tensor([202, 0, 50, 51, 101, 7]), torch.Generator().manual_seed(5)
    live, meta, views = (torch.randn(count, M, D, generator=draw) for count in (len(rows), 4, 5))
    shown = torch.tensor([3, 60, 61, 150, 202])
    for metric, centred, (threshold, k_max) in itertools.product(
            ("cosine", "l2"), (False, True), ((None, None), (0.4, None), (0.4, 9))):
        threshold = None if threshold is None else threshold if metric == "cosine" else -1.2
        whole, sharded = connected(centred, k=5, metric=metric, threshold=threshold, k_max=k_max)
        for arguments in ((rows,), (rows, 3), (rows, 1, live), (rows, 0), (torch.arange(N),), (rows, 2, live, True)):
            assert_same_graphs(whole(*arguments), sharded(*arguments))
        kept = [connect.memory.empty_like(len(shown)) for connect in (whole, sharded)]
        for memory in kept:
            memory.put(torch.arange(len(shown)), views)
        assert_same_graphs(whole.whole(meta, kept[0].bank, shown), sharded.whole(meta, kept[1].bank, shown))
        assert_same_graphs(whole.whole(), sharded.whole())
    whole, sharded = memories()
    default = KNNGraph(k=5)(whole.bank[0])  # FAISS: the same neighbours
    assert torch.equal(default.edge_index, KNNGraph(k=5)(sharded.bank[0]).edge_index)


def lists_and_relations() -> None:
    """Neighbour lists, and what relations judge by them."""
    whole, sharded = connected(True, k=5)
    camera = whole.images.camera[:N]
    x, rows = (memory.bank[0] for memory in memories())
    assert torch.equal(nearest_lists(x, 7), nearest_lists(rows, 7))
    for one, other in zip(camera_lists(x, camera, 3, 0), camera_lists(rows, camera, 3, 0), strict=True):
        assert torch.equal(one, other)
    linked = Constraints(torch.tensor([[3], [90]]), torch.tensor([[4], [91]]), N)
    for relation in (KReciprocalJaccard(positives=3), KReciprocalJaccard(camera_aware=False, k1=8, k2=3),
                     NeighbourEdgeProbability(k=6), Groups(KNearest(2), DBSCAN(0.6, 3)), MPLP(0.4, 6), SameIdentity(),
                     Constrained(KNearest(3), linked), Whitened(KReciprocalJaccard(), dims=6, rounds=2)):
        asked = torch.arange(N) if isinstance(relation, Groups) else torch.tensor([202, 0, 50, 101])
        one, other = (relation(connect(asked, relation.reach)[0]) for connect in (whole, sharded))
        assert torch.equal(one.edge_index, other.edge_index) and torch.equal(one.believed, other.believed)
        assert len(one.believed) and torch.equal(one.likelihood, other.likelihood), relation
        torch.testing.assert_close(one.edge_attr, other.edge_attr)
    for options in ({}, {"share": False}, {"believe": "camera_jaccard"}):
        torch.manual_seed(0)
        relation = GCNRelation(PairClassifier(D, hidden=8), PairSubgraphs(), **options)
        one, other = (relation(connect(asked, relation.reach)[0]) for connect in (whole, sharded))
        assert torch.equal(one.edge_index, other.edge_index) and torch.equal(one.believed, other.believed)
        torch.testing.assert_close(one.likelihood, other.likelihood)
    group = torch.arange(N) % 9 - 1
    assert torch.equal(GroupMemory(x, group).bank, GroupMemory(rows, group).bank)


def losses() -> None:
    """Values and gradients, to rounding; the gradient must be whole in each process."""
    torch.set_default_dtype(torch.float64)
    whole, sharded = memories()
    index, draw = torch.tensor([202, 0, 50, 51, 101, 7]), torch.Generator().manual_seed(5)
    owner = torch.tensor([0, 0, 1, 3, 3, 3, 4])
    edges = [torch.stack([torch.tensor(column), index[owner]]) for column in (
        [1, 120, 201, 50, 0, 200, 30], [80, 2, 3, 4, 5, 6, 110])]
    likelihood = [torch.rand(len(owner), generator=draw) for _ in range(M)]
    start = F.normalize(torch.randn(len(index), M, D, generator=draw), dim=2)
    flat = [(loss, lambda loss, x, bank: loss(x[:, 0], bank[0], edges[0], index, likelihood[0])) for loss in (
        BinomialDeviance(hard_fraction=0.03), BinomialDeviance(hard_fraction=1.0), MultiPositiveInfoNCE(),
        SoftTargets(), SoftTargets(predictions=0.0))]
    wide = [(loss, lambda loss, x, bank: loss(x, bank, index, edges, likelihood)) for loss in (
        Pedal(), BranchLoss(SoftTargets()), BranchLoss(BinomialDeviance()))]
    for loss, compute in (*flat, *wide, (Pedal(k=4), lambda loss, x, bank: loss(x, bank, index))):
        found = []
        for memory in (whole, sharded):
            x = start.clone().requires_grad_()
            value = compute(loss, x, memory.bank)
            (3 * value + x.sum()).backward()
            found.append((value.detach(), x.grad))
        torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-13)
        assert float((found[0][1] - 1).abs().max()) > 1e-3, loss


def saved() -> None:
    """Each kind loads what the other saved."""
    whole, sharded = memories()
    state = sharded.state_dict()["bank"]
    assert sharded.own.shape[1] == len(processes.share(range(N)))
    assert state.shape == whole.bank.shape
    if processes.is_first():
        assert torch.equal(state, whole.bank)
    other = ShardedMemory(N, D, M)
    other.load_state_dict(whole.state_dict())
    assert torch.equal(other.own, sharded.own)
    assert torch.equal(sharded.rows(torch.tensor([202, 3, 3])), whole.rows(torch.tensor([202, 3, 3])))


def check(out: str) -> None:
    """All of it; nothing is written but that it was done."""
    for part in (searches, lists_and_relations, saved, losses):
        torch.set_default_dtype(torch.float32)
        part()
    Path(out, f"answered{processes.rank()}").touch()
