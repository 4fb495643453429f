"""Runs small methods in several processes, for test_processes.py: ``python run_in_processes.py JOBS.json``.

Modules are imported once; then each job is run by its own processes, which are forked. A job is a dict of ``method``,
``processes``, ``out``, and options of :func:`train`.
"""
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import sharded_answers
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from mprd_pyg import process_group, processes
from mprd_pyg.cluster_contrast import ClusterContrast
from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.data.views import training_view
from mprd_pyg.graph import KNNGraph, PairSubgraphs
from mprd_pyg.link_prediction import DGCNN, SEAL, LinkGraph, PairColumns, SubgraphScorer, split_links
from mprd_pyg.losses import MultiPositiveInfoNCE
from mprd_pyg.memory import FeatureMemory, ShardedMemory
from mprd_pyg.models import ImageEmbedder, PairClassifier
from mprd_pyg.mprd import MPRD, GCNRelation, GCNTraining
from mprd_pyg.pretraining import SupervisedPretraining
from mprd_pyg.relations import DBSCAN, Groups, KNearest, KReciprocalJaccard
from mprd_pyg.training import Learner, MemoryGraph, PairBook, Stopped, Trainer
from paul import IPFL, PAUL, PatchNet
from paul.patch_mprd import BranchGCN, BranchGCNTraining, PatchMPRD
from paul.surrogate_view import paul_view

N, Z, SIZE = 20, 4, (32, 16)
VARIES = ("seconds", "memory/", "traffic/")  # what depends on the machine or on the number of processes


def make_images(meta: int) -> TrainImages:
    draw = torch.Generator().manual_seed(1)
    look = torch.randint(256, (6, 3, 1, 1), generator=draw)  # of each person
    person = torch.arange(N + Z) % 6
    noise = torch.randint(-60, 60, (N + Z, 3, *SIZE), generator=draw)
    images = list((look[person] + noise).clamp(0, 255).to(torch.uint8))[:N + meta]
    return TrainImages(images, torch.arange(N + meta) % 3, person[:N + meta], torch.where(
        torch.arange(N + meta) < N, -1, torch.arange(N + meta) % 2), N)


def make(name: str, fabric: Fabric, batch_size: int = 6, memory: str = "replicated", **options):
    """A method on 20 images: 3 batches of 6 and one of 2, which 4 processes cannot share evenly."""
    torch.manual_seed(0)
    gcn = name.endswith("mprd")
    kind = ShardedMemory if memory == "sharded" else FeatureMemory
    images, patches = make_images(Z if gcn else 0), name in ("paul", "patch_mprd")
    network = PatchNet("resnet18", 1, weights=None, patches=2, dim=8) if patches else \
        ImageEmbedder("resnet18", 1, weights=None)
    view = paul_view(*SIZE) if patches else training_view(*SIZE)
    learner = Learner(fabric, network, images, view, batch_size, **{**options, "batchnorm": "frozen"})
    if name == "pretraining":
        return SupervisedPretraining(learner, 2, images_per_identity=2, triplet_weight=0.1)
    connect = MemoryGraph(kind(N, network.dim, network.branches, not patches),
                          KNNGraph(k=3, metric="l2" if patches else "cosine"), images, camera_centered=gcn)
    pairs = PairBook(images, network.branches)
    if name == "cluster_contrast":
        return ClusterContrast(learner, connect, Groups(KNearest(2), DBSCAN(0.6, 1)), pairs, 3, 2, epochs=2)
    perturbed = training_view(*SIZE, perturbed=True)
    if name == "mprd":
        relation = GCNRelation(PairClassifier(network.dim, hidden=8), PairSubgraphs())
        gcn = GCNTraining(relation, learner, connect, perturbed, batch_size=8)
        return MPRD(learner, connect, relation, pairs, gcn, epochs=2)
    if name == "jaccard":
        relation = KReciprocalJaccard(positives=2, k_own=3, k_other=4)
        return MPRD(learner, connect, relation, pairs, None, MultiPositiveInfoNCE(), epochs=2, relate_every=2)
    relation = BranchGCN(PairClassifier(network.dim, hidden=8), PairSubgraphs()) if name == "patch_mprd" else None
    paul = PAUL(learner, connect, relation, None, IPFL(r=0), pairs, epochs=2)
    return paul if relation is None else PatchMPRD(
        paul, BranchGCNTraining(relation, learner, connect, perturbed, batch_size=8))


def make_seal(fabric: Fabric) -> SEAL:
    """SEAL with dropout and statistics: batches of 11 pairs and one of 3, which 4 processes cannot share."""
    torch.manual_seed(0)
    ring = torch.arange(24)
    split = split_links(LinkGraph.from_edges(torch.cat([torch.stack([ring, (ring + step) % 24], 1)
                                                        for step in (1, 2, 5)]), 24), test=0.1, validation=0.05)
    columns, spec = PairColumns(split), {"num_labels": 12, "sort_k": 10, "widths": (8, 8), "width": 8}
    return SubgraphScorer(fabric, split, PairSubgraphs("induced", hops=1), lambda train, dim: (DGCNN(0, **spec), spec),
                          (columns, columns.train()), progress=False, epochs=2, batch_size=11).method


def train(method: str, out: str, precision: str = "64-true", resume: bool = False, stop_at: int = 0,
          kill_at: int = 0, kill_rank: int = 1, nan_rank: int = -1, kill_with: int = signal.SIGKILL, **options) -> None:
    """Train; write every step's figures and believed pairs. ``stop_at`` asks one process to stop at that step,
    ``kill_at`` kills ``kill_rank`` there, and ``nan_rank`` embeds NaN."""
    options.pop("processes")
    size = processes.count()
    if precision == "64-true":  # beyond rounding, which random networks amplify from step to step
        torch.set_default_dtype(torch.float64)
    fabric = Fabric(accelerator="cpu", devices=size, precision=precision, **(
        {} if size == 1 else {"strategy": DDPStrategy(broadcast_buffers=False)}))
    fabric.launch()
    trained, steps = make_seal(fabric) if method == "seal" else make(method, fabric, **options), []
    trainer = Trainer(fabric, Path(out), lambda: {}, checkpoint_every=1 if kill_at else 0, progress=False)
    if nan_rank == processes.rank():
        trained.learner.network.register_forward_hook(lambda module, args, x: x + torch.nan if module.training else x)
    run, judge, believed = trainer._run, PairBook.add, []

    def add(book, pairs, graphs=()):
        believed.append([part.edge_index[:, part.believed].tolist() for part in pairs])
        return judge(book, pairs, graphs)

    def run_phase(method, phase, writer):
        step = phase.step

        def recorded(batch):
            believed.clear()
            figures = step(batch)
            steps.append([trainer.epoch, phase.name, {key: float(value) for key, value in figures.items()},
                          list(believed)])
            if len(steps) == stop_at and processes.rank() == size - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            if len(steps) == kill_at and processes.rank() == kill_rank:
                os.kill(os.getpid(), kill_with)
            return figures
        phase.step = recorded
        run(method, phase, writer)

    PairBook.add, trainer._run = add, run_phase
    stopped, history = False, []
    try:
        history = trainer.fit(trained, resume)
    except Stopped:
        stopped = True
    network = trained.parts["classifier" if method == "seal" else "network"].state_dict()
    Path(out, f"steps{processes.rank()}{'-resumed' if resume else ''}.json").write_text(json.dumps({
        "steps": steps, "stopped": stopped, "history": [
            {key: value for key, value in row.items() if not key.startswith(VARIES)} for row in history],
        "logged": [{key: value for key, value in row.items() if key.startswith(VARIES)} for row in history],
        "weights": {key: float(value.double().abs().sum()) for key, value in network.items()}}))


def fork(job: dict, port: int) -> dict[int, int]:
    """Start the processes of a job; returns their ids and ranks."""
    ranks, differs, started = {}, job.pop("differs", -1), job["processes"] - job.pop("missing", 0)
    for rank in range(started):
        pid = os.fork()
        if not pid:
            os.environ.update(RANK=str(rank), WORLD_SIZE=str(job["processes"]), MASTER_ADDR="127.0.0.1",
                              MASTER_PORT=str(port), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(job["processes"]))
            status = 0
            try:
                # what a test waits for is shortened, not skipped
                process_group.JOINING, process_group.BEAT, process_group.LOST_BEATS = 5, 0.2, 10
                about = {"code": "x" if rank != differs else "y"}
                process_group.join("gloo", about, "error: {}".format)
                if job["method"] == "sharded_answers":
                    sharded_answers.check(job["out"])
                else:
                    train(**job)
                process_group.leave()
            except BaseException as error:
                status = 2
                if process_group.speaks_first():
                    print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        ranks[pid] = rank
    return ranks


def serve_store() -> int:
    """Serve the store in a process of its own, as torchrun does; returns its port.

    Not here: its thread may hold a lock of the C library while this process forks, and the copy would wait for ever.
    """
    (reads, writes), parent = os.pipe(), os.getpid()
    if not os.fork():
        store = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
        os.write(writes, str(store.port).encode())
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)
    return int(os.read(reads, 10))


def free_port() -> int:
    """A port that nobody serves."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def main() -> None:
    served = serve_store()
    for number, job in enumerate(json.loads(Path(sys.argv[1]).read_text())):
        # The number keeps the jobs apart in the store. By hand, rank 0 serves one.
        by_hand = job.pop("by_hand", False)
        os.environ.update(TORCHELASTIC_USE_AGENT_STORE=str(not by_hand), TORCHELASTIC_RESTART_COUNT=str(number))
        port = free_port() if by_hand else served
        Path(job["out"]).mkdir(parents=True, exist_ok=True)
        ranks = fork(job, port)
        status = {}
        while len(status) < len(ranks):
            pid, code = os.wait()
            status[ranks[pid]] = os.waitstatus_to_exitcode(code)
            if status[ranks[pid]] == process_group.LOST:  # as torchrun ends the others
                for other, rank in ranks.items():
                    if rank not in status:
                        os.kill(other, signal.SIGKILL)
        Path(job["out"], "status.json").write_text(json.dumps([status[rank] for rank in sorted(status)]))


if __name__ == "__main__":
    main()
