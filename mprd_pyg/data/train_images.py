"""The training images and what is known of each, as one value."""
from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data


class TrainImages:
    """N unlabelled images, then Z labelled meta images: row = memory slot = graph node.

    Args:
        store: N + Z images, i -> uint8 (3, H, W).
        camera: (N + Z,) cameras; one camera by default.
        person: (N + Z,) identities, -1 where unknown; for metrics, and for relations that say that they read them.
        meta: (N + Z,) identities of labelled meta images, -1 elsewhere (MPRD, Ji et al., ICCV 2021, Sec. 4.2).
        num_unlabelled: N; all by default. A meta image before row N is trained on like any other.
        workers: processes that read the images; 0 reads in the main process.
        tracklet: (N + Z,) tracklets, -1 for none; images of one are known to show one individual.

    Raises:
        ValueError: columns of another length than the store.
    """

    def __init__(self, store: Sequence[Tensor], camera: Tensor | None = None, person: Tensor | None = None,
                 meta: Tensor | None = None, num_unlabelled: int | None = None, workers: int = 0,
                 tracklet: Tensor | None = None):
        unknown = torch.full((len(store),), -1)
        self.store, self.workers = store, workers
        self.camera = torch.zeros_like(unknown) if camera is None else camera
        self.person = unknown if person is None else person
        self.meta = unknown if meta is None else meta
        self.tracklet = unknown if tracklet is None else tracklet
        self.num_unlabelled = len(store) if num_unlabelled is None else num_unlabelled
        for name in ("camera", "person", "meta", "tracklet"):
            if len(getattr(self, name)) != len(store):
                raise ValueError(f"{len(store)} images need as many values of {name}, got {len(getattr(self, name))}")

    @property
    def meta_rows(self) -> Tensor:
        """(Z,) rows of the meta images that come after the unlabelled ones."""
        return torch.arange(self.num_unlabelled, len(self.store))

    def to(self, device: torch.device | str) -> "TrainImages":
        """The same images, with what is known of them on ``device``."""
        return TrainImages(self.store, self.camera.to(device), self.person.to(device), self.meta.to(device),
                           self.num_unlabelled, self.workers, self.tracklet.to(device))

    def label(self, graph: Data, rows: Tensor) -> Data:
        """Put on a graph of the N unlabelled images what relations read.

        That is ``rows`` (R,), the nodes whose pairs are asked for, and ``camera_id``, ``person_id`` and
        ``meta_person``, (N,) each.
        """
        count = self.num_unlabelled
        graph.rows, graph.camera_id = rows, self.camera[:count]
        graph.person_id, graph.meta_person = self.person[:count], self.meta[:count]
        return graph
