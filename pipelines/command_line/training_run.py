"""What every training pipeline does alike: open the data, keep the run folder, fit, evaluate, write the results."""
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from torch import nn

from mprd_pyg import processes
from mprd_pyg.data.pedestrian.synthetic import write_synthetic
from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.data.views import training_view
from mprd_pyg.graph import KNNGraph, PairSubgraphs
from mprd_pyg.memory import FeatureMemory, ShardedMemory
from mprd_pyg.pretraining import SupervisedPretraining
from mprd_pyg.relations import Constraints, Relation, constrain, read_constraints
from mprd_pyg.training import Learner, MemoryGraph, Method, PairBook, Trainer, load_checkpoint, load_weights
from mprd_pyg.training.peak_memory import peak_memory
from pipelines.command_line import cli
from pipelines.command_line.dataset import DataOptions, Dataset, choose_meta, column
from pipelines.command_line.launch import make_fabric
from pipelines.command_line.network_options import build_network
from pipelines.command_line.ranking import flat_metrics, nested, ranker, table_of
from pipelines.command_line.record import RunRecord
from pipelines.command_line.style_options import ChosenStyle
from pipelines.report import try_report
from pipelines.runs.run_folder import CONSTRAINTS, RunFolder
from pipelines.runs.subgraph_samples import SubgraphSamples


class TrainingRun:
    """One run of a training pipeline: what its command puts a method together from, and what is done with it.

    Nothing but generated images is written before :meth:`fit`, when all that could be wrong is known.

    Args:
        name: of the pipeline.
        parser: that made ``cfg``.
        cfg: resolved options.
        parts: what ``parser`` instantiates of them.
        meta_identities: labelled identities, chosen at random among those of the training images.
        meta_apart: they are not trained on; otherwise they stand among the unlabelled images.
        domain: of the generated pedestrians, where they stand in for the data.

    Attributes:
        images: the training images, :class:`TrainImages`.
        network: the embedder, from ``cfg.network``.
    """

    def __init__(self, name: str, parser: cli.Parser, cfg: Namespace, parts: Namespace, meta_identities: int = 0,
                 meta_apart: bool = False, domain: str = "target"):
        self.name, self.parser, self.cfg, self.parts = name, parser, cfg, parts
        self.started = time.monotonic()
        self.resume = cfg.resume is not None
        self.fabric = make_fabric(parser, cfg, lambda reason: f"{parser.prog}: error: {reason}; "
                                                              f"{cli.go_on(parser.prog, cfg.out)}")
        self.folder = RunFolder(cfg.out, name, resume=self.resume)
        cfg.out = str(self.folder.path)
        self.target = self._open("data", domain)
        self.source = self._open("source", "source") if cfg.get("pretrain") else None
        torch.manual_seed(cfg.seed)  # for the networks' random starts; all else draws from named streams of the seed
        reason = self.target.why_not_evaluable()
        self.missing = [] if reason is None else [f"evaluation: {reason}"]
        self.evaluable = reason is None
        self.table = choose_meta(self.target.train, meta_identities, cfg.seed)
        person, meta = column(self.table, "person_id"), column(self.table, "meta").bool()
        self.images = TrainImages(
            self.target.store(self.table), column(self.table, "camera_id"), person, torch.where(meta, person, -1),
            int((~meta).sum()) if meta_apart else len(meta), self.target.options.workers,
            column(self.table, "tracklet_id") if "tracklet_id" in self.table else None)
        self.constraints = self._read_constraints()
        network, self.spec = build_network(
            cfg.network, (self.target.options.height, self.target.options.width))
        self.network = self._prepared(network)
        self.style = None if cfg.get("camera_style") is None else ChosenStyle(
            cfg.camera_style, cfg.camera_style_images, self.target, self.table, self.folder.path, cfg.seed)
        self.samples: SubgraphSamples | None = None

    def _open(self, key: str, domain: str) -> Dataset:
        """Scan a dataset; the synthetic card without a root is generated into the run folder first."""
        options, root = DataOptions(**self.cfg[key]), self.cfg[key].root
        with processes.first_alone():
            if root is None and options.card == "synthetic":
                root = write_synthetic(self.folder.path / "data" / domain, domain=domain, seed=self.cfg.seed,
                                       height=options.height, width=options.width, **dict(self.cfg.synthetic))
            try:
                return Dataset(options, root)
            except ValueError as error:
                raise type(error)(str(error).replace("--data.", f"--{key}.")) from error

    def _prepared(self, network: nn.Module) -> nn.Module:
        """The network as several processes, and compilation, need it."""
        if processes.count() > 1 and self.fabric.device.type == "cuda" and self.cfg.sync_batchnorm:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        elif processes.count() > 1 and processes.is_first():
            learners = ["learner", *(["pretraining_learner"] if self.cfg.get("pretrain") else [])]
            if free := [name for name in learners if self.cfg[name].batchnorm != "frozen"]:
                sys.stderr.write(f"BatchNorm has the statistics of each process's own share of the batch, so figures "
                                 f"depend on the number of processes; --{free[0]}.batchnorm frozen avoids it\n")
        if self.cfg.compile:
            network.trunk.compile()
        return network

    def _read_constraints(self) -> Constraints | None:
        """What ``--constraints`` and the card's tracklets say of the unlabelled images; None without either."""
        file, tracklet = self.cfg.get("constraints"), self.images.tracklet
        if file is None and not bool((tracklet >= 0).any()):
            return None
        said = read_constraints(file, self.table["path"].tolist(), tracklet)
        return said.first(self.images.num_unlabelled)

    # -- parts of a method ---------------------------------------------------------------------------------------

    def view(self, make: Callable[..., Any] = training_view, group: str = "augmentation", **options: Any) -> Any:
        """A random view of the images' size, by the options of ``group``, in the run's camera style."""
        return self.styled(make(self.target.options.height, self.target.options.width, **options, **self.cfg[group]))

    def styled(self, view: Any) -> Any:
        """A view of the images in the run's camera style."""
        return view if self.style is None else self.style.view(view)

    def learner(self, view: Any, network: nn.Module | None = None) -> Learner:
        """Of the run's network, or of another one."""
        network = self.network if network is None else self._prepared(network)
        return Learner(self.fabric, network, self.images, view, seed=self.cfg.seed, **self.parts.learner)

    def constrained(self, relation: Relation) -> Relation:
        """A relation under the run's constraints."""
        return relation if self.constraints is None else constrain(relation, self.constraints)

    def memory_graph(self, knn: KNNGraph, normalize: bool = True) -> MemoryGraph:
        """An empty memory of the training images, with its neighbour search."""
        kind = ShardedMemory if self.cfg.get("memory") == "sharded" else FeatureMemory
        memory = kind(self.images.num_unlabelled, self.network.dim, self.network.branches, normalize)
        return MemoryGraph(memory.to(self.fabric.device), knn, self.images, **self.parts.connect)

    def pair_book(self, connect: MemoryGraph, subgraphs: PairSubgraphs | None = None) -> PairBook:
        """Records every epoch's judged pairs, and the subgraphs of some, in the run folder."""
        if not processes.is_first() and not isinstance(connect.memory, ShardedMemory):
            return PairBook(connect.images, self.network.branches)
        self.samples = SubgraphSamples(self.folder.path / "subgraphs", self.table, connect,
                                       subgraphs or PairSubgraphs(), self.cfg.seed)
        return PairBook(connect.images, self.network.branches, [
            lambda epoch, pairs: self.folder.write_pairs(epoch, pairs, self.images.person), self.samples])

    # -- the run -------------------------------------------------------------------------------------------------

    def run(self, method: Method, **facts: Any) -> None:
        """:meth:`fit` and :meth:`finish`."""
        self.finish(self.fit(method, **facts))

    def fit(self, method: Method, **facts: Any) -> dict[str, Any]:
        """Write the inputs, pre-train on the source, train, evaluate; returns the results that all methods have.

        Args:
            method: ready to run on the run's network.
            facts: further entries of the results, such as ``relation``.
        """
        cfg, target = self.cfg, self.target
        if cfg.get("initial"):
            load_weights(self.network, load_checkpoint(cfg.initial)["method"].get("network"), cfg.initial)
        saved = cfg.clone()
        for key in ("config", "resume", "out", "devices"):  # what belongs to one call only
            saved.pop(key, None)
        self.folder.write_text("config.yaml", self.parser.dump(saved, skip_unset=False))
        self.folder.write_table("images.parquet", self.table if self.style is None else self.style.table)
        self.folder.write_protocol(target.protocol())
        if self.constraints is not None:
            facts["constraints"] = {"must": self.constraints.must.shape[1], "cannot": self.constraints.cannot.shape[1]}
        if cfg.get("constraints") and not (self.folder.path / CONSTRAINTS).exists():  # to be gone on with
            self.folder.write_text(CONSTRAINTS, Path(cfg.constraints).read_text(encoding="utf-8"))
        if self.style is not None:
            if processes.is_first():
                self.style.write(self.folder.path)
            facts["camera_style"] = self.style.record
        going_on = self.resume and self.folder.started
        record = RunRecord(self.folder, target, resumed=going_on)
        record.start(self.name, self.parser, saved, rows=self.images.num_unlabelled, epochs=method.epochs,
                     missing=self.missing, device=str(self.fabric.device), relation=facts.get("relation"))
        source = None if self.source is None else self._pretrain()
        self.start = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        rank = self._ranker(self.network, record) if self.evaluable else None
        trainer = self._trainer(self.folder.path, rank, cfg.evaluate_every)
        history = trainer.fit(method, resume=going_on)
        self.before, self.last = trainer.before, history[-1]
        last = self.last
        if rank:
            if ranked := rank():
                self.folder.write_rankings(*target.test, ranked)
            self.closing = (f"{target.card.name}: the same network before and after {len(history)} epochs\n"
                            f"{table_of({'before': trainer.before, 'after': last})}")
        else:
            self.closing = f"{target.card.name}: {len(history)} epochs; {self.missing[0]}"
        if self.samples is not None:
            self.samples.finish(len(history))
        unlabelled = self.images.num_unlabelled
        return {"pipeline": self.name, "card": target.card.name, "seed": cfg.seed,
                "processes": processes.count(), "peak_memory_mb": peak_memory(self.fabric.device),
                "metrics": nested(last), "before": nested(trainer.before),
                "pairs": {name.split("/")[1]: value for name, value in last.items() if name.startswith("pairs/")},
                "counts": target.counts() | {"unlabelled": unlabelled, "meta": len(self.table) - unlabelled},
                "data": {"fingerprint": target.fingerprint, **target.describe_split(),
                         "deviations": target.card.deviations(target.frame),
                         "skipped_images": target.frame.attrs.get("skipped_unreadable", [])},
                "source": source, "epochs": len(history), "missing": self.missing, **facts}

    def fit_rows(self, whole: str, variants: dict[str, Callable[[nn.Module], Method]]) -> dict[str, Any]:
        """Train variants of the method from the same start, below ``rows/``, and compare all in the closing table.

        Args:
            whole: what the table calls the method that :meth:`fit` trained.
            variants: name of a row and of its folder -> the method that trains a network given to it.

        Returns:
            rows -> figures, from the start to the whole method.
        """
        cfg, kind = self.cfg, type(self.network).__name__
        rows = {f"{kind} direct": self.before}
        for name, make in variants.items():
            network = build_network(cfg.network, (cfg.data.height, cfg.data.width))[0]
            network.load_state_dict(self.start)
            rank = self._ranker(network) if self.evaluable else None
            trainer = self._trainer(self.folder.path / "rows" / name, rank, 0)
            rows[f"{kind} + {name}"] = trainer.fit(
                make(network), resume=self.resume and trainer.checkpoint.is_file())[-1]
        rows[whole] = self.last
        if self.evaluable:
            self.closing = f"{self.target.card.name}: the rows of the ablation, from one start\n{table_of(rows)}"
        return {row: nested(figures) for row, figures in rows.items()}

    def finish(self, results: dict[str, Any]) -> None:
        """Write ``results.json`` and the report, and show the closing table."""
        self.folder.write_results(results | {"seconds": round(time.monotonic() - self.started, 1)})
        if processes.is_first():
            report = try_report(self.folder.path)
            print(f"\n{self.closing}\nrun folder: {self.folder.path}" + (f"\nreport: {report}" if report else ""))
        processes.wait_for_all()

    def _ranker(self, network: nn.Module, record: RunRecord | None = None) -> Callable[[], dict]:
        return ranker(self.target, network, self.fabric.device, self.cfg.progress, record=record)

    def _trainer(self, folder: Path, rank: Callable[[], dict] | None, evaluate_every: int) -> Trainer:
        options = self.target.options
        describe = {"network": self.spec, "size": [options.height, options.width], "data": self.target.fingerprint,
                    **self.target.describe_split()}
        evaluate = None if rank is None else lambda: processes.broadcast(flat_metrics(rank()))
        return Trainer(self.fabric, folder, evaluate, evaluate_every, self.cfg.checkpoint_every, describe,
                       self.cfg.progress, self.parts.get("logger") if folder == self.folder.path else None)

    def _pretrain(self) -> dict[str, Any]:
        source, cfg = self.source, self.cfg
        frame, options = source.train, source.options
        images = TrainImages(source.store(frame), column(frame, "camera_id"), column(frame, "person_id"),
                             workers=options.workers)
        learner = Learner(self.fabric, self.network, images, training_view(options.height, options.width),
                          seed=cfg.seed, **self.parts.pretraining_learner)
        method = SupervisedPretraining(learner, **self.parts.pretraining)
        trainer = Trainer(self.fabric, Path(cfg.out) / "source", describe={"source": source.fingerprint},
                          progress=cfg.progress)
        history = trainer.fit(method, resume=self.resume and trainer.checkpoint.is_file())
        return {"card": source.card.name, "fingerprint": source.fingerprint, "last_epoch": history[-1]}
