"""What every training pipeline does alike: open the data, keep the run folder, fit, evaluate, write the results."""
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jsonargparse import Namespace
from lightning_fabric import Fabric
from torch import nn

from mprd_pyg.data.pedestrian.synthetic import write_synthetic
from mprd_pyg.data.views import training_view
from mprd_pyg.pretraining.supervised import SupervisedPretraining
from mprd_pyg.training import Method, Trainer, load_checkpoint
from mprd_pyg.training.checkpoint import load_weights
from pipelines.command_line import cli
from pipelines.command_line.dataset import DataOptions, Dataset, column
from pipelines.command_line.ranking import flat_metrics, nested, ranker, table_of
from pipelines.command_line.record import RunRecord
from pipelines.report import try_report
from pipelines.runs.run_folder import RunFolder

PRETRAINING = {"fabric", "embedder", "store", "person_id", "view", "workers", "seed"}
SYNTHETIC = {"root", "domain", "seed", "height", "width"}


def add_training_options(parser: cli.Parser, source: bool = True) -> None:
    """The options that all training pipelines share; with ``source``, those of pre-training on one."""
    parser.add_class_arguments(DataOptions, "data", instantiate=False)
    parser.add_argument("--evaluate_every", type=int, default=5, help="epochs; 0: at the end only")
    parser.add_argument("--checkpoint_every", type=int, default=0, help="steps between checkpoints in an epoch")
    parser.add_function_arguments(write_synthetic, "synthetic", skip=SYNTHETIC)
    if source:
        parser.add_argument("--initial", type=str | None, default=None,
                            help="checkpoint of another run, such as of pipelines.pretrain, to start the network from")
        parser.add_argument("--pretrain", type=bool, default=False, help="train the network on a labelled source first")
        parser.add_class_arguments(DataOptions, "source", instantiate=False)
        parser.add_class_arguments(SupervisedPretraining, "pretraining", instantiate=False, skip=PRETRAINING)


class TrainingRun:
    """One run of a training pipeline.

    Args:
        name: of the pipeline.
        parser: that made ``cfg``.
        cfg: resolved options.
        domain: of the generated pedestrians, where they stand in for the data.

    Nothing but generated images is written before :meth:`fit`, when all that could be wrong is known.
    """

    def __init__(self, name: str, parser: cli.Parser, cfg: Namespace, domain: str = "target"):
        self.name, self.parser, self.cfg, self.started = name, parser, cfg, time.monotonic()
        self.resume = cfg.resume is not None
        self.folder = RunFolder(cfg.out, name, resume=self.resume)
        cfg.out = str(self.folder.path)
        self.target = self._open("data", domain)
        self.source = self._open("source", "source") if cfg.get("pretrain") else None
        self.fabric = Fabric(accelerator=cfg.accelerator, devices=1, precision=cfg.precision)
        torch.manual_seed(cfg.seed)  # for the networks' random starts; all else draws from named streams of the seed
        reason = self.target.why_not_evaluable()
        self.missing = [] if reason is None else [f"evaluation: {reason}"]
        self.evaluable = reason is None

    def _open(self, key: str, domain: str) -> Dataset:
        """Scan a dataset; the synthetic card without a root is generated into the run folder first."""
        options, root = DataOptions(**self.cfg[key]), self.cfg[key].root
        if root is None and options.card == "synthetic":
            root = write_synthetic(self.folder.path / "data" / domain, domain=domain, seed=self.cfg.seed,
                                   height=options.height, width=options.width, **dict(self.cfg.synthetic))
        try:
            return Dataset(options, root)
        except ValueError as error:
            raise type(error)(str(error).replace("--data.", f"--{key}.")) from error

    def fit(self, method: Method, network: nn.Module, spec: dict[str, Any], table: pd.DataFrame) -> dict[str, Any]:
        """Write the inputs, pre-train on the source, train, evaluate; returns the results that all methods have.

        Args:
            method: ready to run.
            network: its embedder.
            spec: its ``class_path`` and ``init_args``, so that the checkpoint can be opened by itself.
            table: training images in the memory's order.
        """
        cfg, target = self.cfg, self.target
        if cfg.get("initial"):
            load_weights(network, load_checkpoint(cfg.initial)["method"]["embedder"], cfg.initial)
        saved = cfg.clone()
        for key in ("config", "resume", "out"):  # what belongs to one call only
            saved.pop(key, None)
        self.folder.write_text("config.yaml", self.parser.dump(saved, skip_unset=False))
        self.folder.write_table("images.parquet", table)
        self.folder.write_protocol(target.protocol())
        going_on = self.resume and self.folder.started
        record = RunRecord(self.folder, target, resumed=going_on)
        record.start(self.name, self.parser, saved, rows=getattr(method, "num_rows", len(table)),
                     epochs=method.epochs, missing=self.missing, device=str(self.fabric.device),
                     relation=repr(method.relation) if hasattr(method, "relation") else None)
        source = None if self.source is None else self._pretrain(network)
        self.start = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        rank = ranker(target, network, self.fabric.device, cfg.progress, record=record) if self.evaluable else None
        trainer = self._trainer(self.folder.path, spec, rank, cfg.evaluate_every)
        history = trainer.fit(method, resume=going_on)
        self.before, self.last = trainer.before, history[-1]
        last = self.last
        if rank:
            self.folder.write_rankings(*target.test, rank())
            self.closing = (f"{target.card.name}: the same network before and after {len(history)} epochs\n"
                            f"{table_of({'before': trainer.before, 'after': last})}")
        else:
            self.closing = f"{target.card.name}: {len(history)} epochs; {self.missing[0]}"
        return {"pipeline": self.name, "card": target.card.name, "seed": cfg.seed,
                "metrics": nested(last), "before": nested(trainer.before),
                "pairs": {name.split("/")[1]: value for name, value in last.items() if name.startswith("pairs/")},
                "counts": target.counts(), "data": {
                    "fingerprint": target.fingerprint, **target.describe_split(),
                    "deviations": target.card.deviations(target.frame),
                    "skipped_images": target.frame.attrs.get("skipped_unreadable", [])},
                "source": source, "epochs": len(history), "missing": self.missing}

    def fit_row(self, name: str, method: Method, network: nn.Module, spec: dict[str, Any]) -> dict[str, float]:
        """Train a variant of the method from the same start, below ``rows/``; returns its last epoch's figures.

        Args:
            name: of the row, and of its folder.
            method: ready to run on ``network``.
            network: takes the weights that the main network had before :meth:`fit` trained it.
            spec: as in :meth:`fit`.
        """
        network.load_state_dict(self.start)
        rank = ranker(self.target, network, self.fabric.device, self.cfg.progress) if self.evaluable else None
        trainer = self._trainer(self.folder.path / "rows" / name, spec, rank, 0)
        return trainer.fit(method, resume=self.resume and trainer.checkpoint.is_file())[-1]

    def _trainer(self, folder: Path, spec: dict[str, Any], rank, evaluate_every: int) -> Trainer:
        options = self.target.options
        describe = {"network": spec, "size": [options.height, options.width], "data": self.target.fingerprint,
                    **self.target.describe_split()}
        return Trainer(self.fabric, folder, (lambda: flat_metrics(rank())) if rank else None, evaluate_every,
                       self.cfg.checkpoint_every, describe, self.cfg.progress)

    def finish(self, results: dict[str, Any]) -> None:
        """Write ``results.json`` and the report, and show the closing table."""
        self.folder.write_results(results | {"seconds": round(time.monotonic() - self.started, 1)})
        report = try_report(self.folder.path)
        print(f"\n{self.closing}\nrun folder: {self.folder.path}" + (f"\nreport: {report}" if report else ""))

    def _pretrain(self, network: nn.Module) -> dict[str, Any]:
        source, cfg = self.source, self.cfg
        frame = source.train
        method = SupervisedPretraining(
            self.fabric, network, source.store(frame), column(frame, "person_id"),
            training_view(source.options.height, source.options.width), seed=cfg.seed,
            workers=source.options.workers, **dict(cfg.pretraining))
        trainer = Trainer(self.fabric, Path(cfg.out) / "source", describe={"source": source.fingerprint},
                          progress=cfg.progress)
        history = trainer.fit(method, resume=self.resume and trainer.checkpoint.is_file())
        return {"card": source.card.name, "fingerprint": source.fingerprint, "last_epoch": history[-1]}
