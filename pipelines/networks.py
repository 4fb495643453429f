"""The networks that a configuration or a checkpoint may name; nothing else is ever imported by name."""
from typing import Any

from jsonargparse import Namespace
from torch import nn

from mprd_pyg.models import ImageEmbedder
from paul import PatchNet
from pipelines import cli

NETWORKS = {"mprd_pyg.models.ImageEmbedder": ImageEmbedder, "paul.PatchNet": PatchNet}


def add_network(parser: cli.Parser) -> None:
    """The option ``network``, a class with its arguments."""
    parser.add_subclass_arguments(tuple(NETWORKS.values()), "network", required=False, instantiate=False,
                                  help="paul.PatchNet, or mprd_pyg.models.ImageEmbedder with its one branch")
    parser.set_defaults({"network": {"class_path": "paul.PatchNet"}})


def build_network(cfg: Namespace) -> tuple[nn.Module, dict[str, Any]]:
    """Build it; returns it with the spec that is kept in checkpoints."""
    name = cfg.network.class_path.rpartition(".")[2]
    path = next(path for path, cls in NETWORKS.items() if cls.__name__ == name)
    init_args = dict(cfg.network.get("init_args") or {})
    return NETWORKS[path](**init_args), {"class_path": path, "init_args": init_args}


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
