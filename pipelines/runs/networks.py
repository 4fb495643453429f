"""The networks that a configuration or a checkpoint may name; nothing else is ever imported by name."""
from typing import Any

from torch import nn

from mprd_pyg.models import ImageEmbedder
from paul import PatchNet

NETWORKS = {"mprd_pyg.models.ImageEmbedder": ImageEmbedder, "paul.PatchNet": PatchNet}


def network_of(spec: dict[str, Any], source: str) -> nn.Module:
    """The network of a checkpoint's spec, without weights.

    Raises:
        ValueError: a class that is not one of the known ones, or options that it does not have.
    """
    if spec["class_path"] not in NETWORKS:
        raise ValueError(f"{source} holds a network {spec['class_path']!r}; known ones: {', '.join(sorted(NETWORKS))}")
    try:
        return NETWORKS[spec["class_path"]](**spec["init_args"] | {"weights": None})
    except TypeError as error:
        raise ValueError(f"{source} was made by another version of this library: {error}") from error
