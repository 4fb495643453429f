"""A network with all that training it takes: optimiser, images, views and random streams."""
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Subset

from mprd_pyg import processes
from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.data.views import SeededViews, load, shuffled_batches
from mprd_pyg.models import layer_groups
from mprd_pyg.models.embedding import Into, embed_images, embed_in_training_mode, map_images, to_device
from mprd_pyg.random_streams import stream, stream_seed
from mprd_pyg.training.schedules import StepSchedule
from mprd_pyg.training.trainer import Phase


class Learner:
    """What a method trains. The defaults are those of MPRD (Ji et al., ICCV 2021, Sec. 5.2).

    Args:
        fabric: device and precision.
        network: (B, 3, H, W) -> (B, M, d), with ``dim``, ``branches`` and ``parameter_groups``, the trunk's first.
        images: the training images.
        view: training augmentation, see :class:`mprd_pyg.data.views.SeededViews`.
        batch_size: images per step.
        trunk_lr: learning rate of the trunk.
        new_lr: learning rate of the other layers.
        weight_decay: L2 penalty (unstated for MPRD; MLCR's code has 5e-4 and Nesterov momentum).
        optimizer: SGD with a momentum of 0.9, in ``"nesterov"``'s form or plain, ``"adam"`` or ``"adamw"``.
        schedule: learning-rate multiplier by epoch; None is the method's own.
        batchnorm: which statistics BatchNorm uses. Training uses those of the batch, and features without training use
            the running ones (``"eval"``) or those of their batch too (``"train"``, PAUL's released code); ``"frozen"``
            uses those that the network came with everywhere, so that figures do not depend on how many processes share
            a batch.
        seed: of the order, the views, and all that a method draws.
        layer_decay: learning rate of a layer of the trunk relative to the next layer's, that of the last being
            ``trunk_lr``; 1 gives all the same.

    Raises:
        ValueError: an unknown option, or fewer images per step than processes.
    """

    def __init__(self, fabric: Fabric, network: nn.Module, images: TrainImages, view: Any, batch_size: int = 32,
                 trunk_lr: float = 0.01, new_lr: float = 0.1, weight_decay: float = 5e-4,
                 optimizer: Literal["nesterov", "sgd", "adam", "adamw"] = "nesterov",
                 schedule: StepSchedule | None = None, batchnorm: Literal["eval", "train", "frozen"] = "eval",
                 seed: int = 0, layer_decay: float = 1.0):
        if batchnorm not in ("eval", "train", "frozen"):
            raise ValueError(f"batchnorm must be 'eval', 'train' or 'frozen', got {batchnorm!r}")
        if optimizer not in ("nesterov", "sgd", "adam", "adamw"):
            raise ValueError(f"optimizer must be 'nesterov', 'sgd', 'adam' or 'adamw', got {optimizer!r}")
        if batch_size < processes.count():
            raise ValueError(f"{processes.count()} processes cannot share a batch of {batch_size} images: start fewer, "
                             f"or raise learner.batch_size")
        self.fabric, self.images, self.view = fabric, images.to(fabric.device), view
        self.batch_size, self.new_lr, self.schedule, self.batchnorm = batch_size, new_lr, schedule, batchnorm
        self.seed, self.epoch = seed, 0
        self.network = network.to(fabric.device, memory_format=torch.channels_last)
        groups = network.parameter_groups(trunk_lr, new_lr)
        if layer_decay != 1:
            groups = layer_groups(network.trunk, trunk_lr, layer_decay) + groups[1:]
        if optimizer in ("adam", "adamw"):
            adam = torch.optim.Adam if optimizer == "adam" else torch.optim.AdamW
            made: torch.optim.Optimizer = adam(groups, weight_decay=weight_decay)
        else:
            made = torch.optim.SGD(groups, momentum=0.9, weight_decay=weight_decay, nesterov=optimizer == "nesterov")
        self.optimizer = fabric.setup_optimizers(made)

    @cached_property
    def embedder(self) -> nn.Module:
        """The network as it is trained, in every process; made when it is known which of its parameters are."""
        return self.fabric.setup_module(self.network)

    @property
    def parts(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"network": self.network, "optimizer": self.optimizer}

    def add_parameters(self, *parameters: nn.Parameter) -> None:
        """Train further parameters at the new layers' learning rate."""
        self.optimizer.optimizer.add_param_group({"params": list(parameters), "lr": self.new_lr})

    def __call__(self, images: Tensor, rows: Tensor) -> Tensor:
        """Embed V views of each of the images ``rows`` (B,) -> (V * B, M, d), with gradient.

        Args:
            images: (V * b, 3, H, W), view after view, of the b rows that are this process's share.
            rows: (B,) of all processes.

        Returns:
            the features of all processes, the same on each: what follows is computed as by one process.

        Raises:
            FloatingPointError: a feature is NaN or infinite; names its image.
        """
        x = self.embedder(to_device(images, self.fabric.device))
        if processes.count() > 1:
            sizes = [len(part) for part in processes.shares(rows)]
            views = x.unflatten(0, (-1, max(sizes[processes.rank()], 1))).transpose(0, 1)
            x = processes.gather(views, sizes).transpose(0, 1).flatten(0, 1)
        self.check_finite(x, rows)
        return x

    def step(self, loss: Tensor) -> None:
        """One step of the optimiser down the gradient of ``loss``."""
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        if processes.count() > 1:  # DistributedDataParallel has summed the gradients
            processes.count_bytes(sum(part.nbytes for part in self.network.parameters() if part.requires_grad))
        self.optimizer.step()

    def batches(self, epoch: int, min_size: int = 2) -> list[list[int]]:
        """The unlabelled rows in the random order of an epoch; a last batch below ``min_size`` is left out."""
        rows = torch.arange(self.images.num_unlabelled)
        return shuffled_batches(rows, self.batch_size, stream(self.seed, epoch, 0), min_size)

    def phase(self, name: str, epoch: int, step: Callable[[Tensor, Tensor], dict[str, Tensor | float]],
              batches: list[list[int]] | None = None) -> Phase:
        """A training pass over views of the images.

        Args:
            name: of the phase.
            epoch: counted from 1; kept as ``epoch`` while the phase runs.
            step: called with images (b, ..., 3, H, W), this process's share of the batch, and all its rows (B,).
            batches: rows of each step; :meth:`batches` by default.
        """
        batches = self.batches(epoch) if batches is None else batches

        def begin(start: int):
            self.epoch = epoch
            if self.schedule is not None:
                self.schedule.apply(self.optimizer, epoch)
            self.embedder.train()
            if self.batchnorm == "frozen":
                for module in self.network.modules():
                    if isinstance(module, nn.modules.batchnorm._BatchNorm):
                        module.eval()
            views = SeededViews(self.images.store, self.view, stream_seed(self.seed, epoch, 1))
            # A process without a share embeds an image that :meth:`__call__` leaves out: all must take the step.
            shared = [processes.share(batch) or batch[:1] for batch in batches[start:]]
            images = (images for images, _ in load(views, shared, self.images.workers))
            return zip(images, map(torch.tensor, batches[start:]), strict=True)
        return Phase(name, len(batches), begin, lambda batch: step(batch[0], batch[1].to(self.fabric.device)))

    def embed(self, rows: Tensor | None = None, view: Any = None, seed: int | None = None,
              progress: str = "", into: Into | None = None) -> Tensor | None:
        """Features (R, M, d) without gradient.

        In training mode a few images are embedded among as many random unlabelled ones, whose BatchNorm statistics are
        those of the memory's features.

        Args:
            rows: (R,) images; the N unlabelled ones by default.
            view: transform; the plain images by default.
            seed: of the view and of the batches in training mode; the learner's by default.
            progress: label of a progress bar; none when empty.
            into: takes the features instead, some after the other: called with their places in ``rows`` (P,) and
                (P, M, d).
        """
        images, count = self.images, self.images.num_unlabelled
        seed = self.seed if seed is None else seed
        options = self._reading() | {"view": view, "seed": seed, "progress": progress, "into": into}
        if rows is not None and not len(rows):
            return torch.zeros(0, self.network.branches, self.network.dim, device=self.fabric.device)
        if self.batchnorm != "train":
            return embed_images(self.embedder, images.store, torch.arange(count) if rows is None else rows, **options)
        store = Subset(images.store, range(count) if rows is None else rows.tolist())
        if rows is None:
            return embed_in_training_mode(self.embedder, store, **options)
        others = torch.randperm(count, generator=stream(seed, 1))[:max(len(rows), 2 * self.batch_size - len(rows))]
        mixed = ConcatDataset([store, Subset(images.store, others.tolist())])
        if into is not None:
            options["into"] = lambda place, x: into(place[place < len(rows)], x[place < len(rows)])
        x = embed_in_training_mode(self.embedder, mixed, **options)
        return None if x is None else x[:len(rows)]

    def map(self, function: Callable[[Tensor], Tensor], progress: str = "", into: Into | None = None) -> Tensor | None:
        """Apply a part of the network, in evaluation mode, to all images, meta images included: (N + Z, ...).

        ``into`` as of :meth:`embed`.
        """
        precision = self.fabric.strategy.precision

        def in_precision(images: Tensor) -> Tensor:
            with precision.forward_context():
                return precision.convert_output(function(precision.convert_input(images)))
        self.network.eval()
        return map_images(in_precision, self.images.store, **self._reading(), progress=progress, into=into)

    def check_finite(self, x: Tensor, rows: Tensor) -> None:
        """Refuse NaN or infinite features (V * B, ...), V views of each of ``rows`` (B,), naming the first image."""
        bad = ~torch.isfinite(x.detach()).flatten(1).all(1)
        if bool(bad.any()):
            first, store = int(rows[int(bad.nonzero()[0]) % len(rows)]), self.images.store
            name = store.paths[first] if hasattr(store, "paths") else f"row {first}"
            raise FloatingPointError(f"the feature of {name} is NaN or infinite ({int(bad.sum())} of {len(bad)} "
                                     f"of the batch): lower the learning rate, or look at the image")

    def _reading(self) -> dict[str, Any]:
        return {"device": self.fabric.device, "batch_size": 2 * self.batch_size, "workers": self.images.workers}
