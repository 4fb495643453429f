"""The trained network of a checkpoint; nothing but the classes named here is ever imported by name."""
from pathlib import Path
from typing import Any

from torch import nn

from mprd_pyg.models import ImageEmbedder
from mprd_pyg.training import load_checkpoint
from mprd_pyg.training.checkpoint import load_weights
from paul import PatchNet

NETWORKS = {"mprd_pyg.models.ImageEmbedder": ImageEmbedder, "paul.PatchNet": PatchNet}
WEIGHTS = "network"  # key of the network among the parts of the method in a checkpoint


def checkpoint_path(path: str | Path) -> Path:
    """The file of a checkpoint that is named by itself or by its run folder."""
    path = Path(path)
    return path / "checkpoints" / "last.pt" if path.is_dir() else path


def load_network(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network of a checkpoint, and what the checkpoint says about it.

    Args:
        path: a run folder, or its ``checkpoints/last.pt``.

    Returns:
        the network on the CPU, and a dict with ``network`` (its ``class_path`` and ``init_args``), ``size`` (height,
        width) and ``data`` (fingerprint of the training images).

    Raises:
        FileNotFoundError: no checkpoint.
        ValueError: it is damaged, holds no image network, or one that this version cannot build.
    """
    path = checkpoint_path(path)
    state = load_checkpoint(path, mapped=True)
    about = state.get("describe", {})
    if "network" not in about or WEIGHTS not in state.get("method", {}):
        raise ValueError(f"{path} does not say which network it holds: give a checkpoint of a training pipeline")
    try:
        name, options, (height, width) = about["network"]["class_path"], about["network"]["init_args"], about["size"]
        if not all(type(side) is int and 0 < side < 10_000 for side in (height, width)):
            raise ValueError(f"images of {height} x {width}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} describes no network and size of images that it can be built for: {error}") from error
    if str(name) not in NETWORKS:
        raise ValueError(f"{path} holds a network {name!r}; known ones: {', '.join(sorted(NETWORKS))}")
    try:
        network = NETWORKS[name](**options | {"weights": None, "gradient_checkpointing": False})
        network.trunk.set_image_size(height, width)
    except Exception as error:  # options of another version, or written by hand
        raise ValueError(f"{path} needs a package that is not installed, or was made by another version of this "
                         f"library: {error}") from error
    load_weights(network, state["method"][WEIGHTS], str(path))
    return network, about
