"""Which network a training pipeline trains."""
from typing import Any

from jsonargparse import Namespace
from torch import nn

from pipelines.command_line import cli
from pipelines.runs.networks import NETWORKS


def add_network(parser: cli.Parser) -> None:
    """The option ``network``, a class with its arguments."""
    parser.add_subclass_arguments(tuple(NETWORKS.values()), "network", required=False, instantiate=False,
                                  help="paul.PatchNet, or mprd_pyg.models.ImageEmbedder with its one branch")
    parser.set_defaults({"network": {"class_path": "paul.PatchNet"}})


def build_network(options: Namespace) -> tuple[nn.Module, dict[str, Any]]:
    """Build it; returns it with the spec that is kept in checkpoints.

    Args:
        options: ``class_path`` and ``init_args``, or the arguments of an :class:`ImageEmbedder`.
    """
    if "class_path" not in options:
        options = Namespace(class_path="ImageEmbedder", init_args=options)
    name = options.class_path.rpartition(".")[2]
    path = next(path for path, cls in NETWORKS.items() if cls.__name__ == name)
    init_args = dict(options.get("init_args") or {})
    return NETWORKS[path](**init_args), {"class_path": path, "init_args": init_args}
