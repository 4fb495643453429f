"""Which network a training pipeline trains."""
from typing import Any

from jsonargparse import Namespace
from torch import nn

from paul import PatchNet
from pipelines.command_line import cli
from pipelines.runs.networks import NETWORKS


def add_network(parser: cli.Parser) -> None:
    """The option ``network``, a class with its arguments."""
    parser.add_subclass_arguments(tuple(NETWORKS.values()), "network", required=False, instantiate=False,
                                  help="paul.PatchNet, or mprd_pyg.models.ImageEmbedder with its one branch")
    parser.set_defaults({"network": {"class_path": "paul.PatchNet"}})


def build_network(options: Namespace, size: tuple[int, int]) -> tuple[nn.Module, dict[str, Any]]:
    """Build it; returns it with the spec that is kept in checkpoints.

    Args:
        options: ``class_path`` and ``init_args``, or the arguments of an :class:`ImageEmbedder`.
        size: (H, W) of the images.

    Raises:
        ValueError: options that do not fit, or a trunk whose feature map is too small for the stripes or patches.
    """
    if "class_path" not in options:
        options = Namespace(class_path="ImageEmbedder", init_args=options)
    name = options.class_path.rpartition(".")[2]
    path = next(path for path, cls in NETWORKS.items() if cls.__name__ == name)
    init_args = dict(options.get("init_args") or {})
    network = NETWORKS[path](**init_args)
    network.trunk.set_image_size(*size)
    rows, columns = network.trunk.map_size(*size)
    parts, what = (network.branches, "patches") if isinstance(network, PatchNet) else (network.pool.stripes, "stripes")
    if rows < parts:
        raise ValueError(f"the trunk's feature map of images of {size[0]} x {size[1]} has {rows} rows and {columns} "
                         f"columns, too few for {parts} {what}: raise --data.height, lower --network.{what}, or take a "
                         f"trunk of a smaller stride")
    return network, {"class_path": path, "init_args": init_args}
