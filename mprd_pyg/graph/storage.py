"""Pair subgraphs on disk: flat tensors, read without running anything from the file."""
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Batch

from mprd_pyg.graph.pair_subgraphs import pair_batch

FIELDS = ("n_id", "z", "edge_index", "edge_ptr", "root_index", "batch", "ptr")


def save_pair_batch(path: str | Path, batch: Batch, **per_pair: Tensor) -> None:
    """Write a batch of pair subgraphs, with further tensors of one entry per pair (``likelihood``, ``y`` ...)."""
    flat = {name: batch[name].cpu() for name in FIELDS if name != "edge_ptr"}
    flat["edge_ptr"] = batch._slice_dict["edge_index"]
    for name, value in per_pair.items():
        if len(value) != batch.num_graphs:
            raise ValueError(f"{name} has {len(value)} entries for {batch.num_graphs} pairs")
    torch.save({"flat": flat, "per_pair": {name: value.cpu() for name, value in per_pair.items()}}, path)


def load_pair_batch(path: str | Path) -> Batch:
    """Read it back: ``load_pair_batch(path)[i]`` is one PyG graph.

    Raises:
        ValueError: the file is no saved batch.
    """
    try:
        saved = torch.load(path, weights_only=True)
        return pair_batch(**{name: saved["flat"][name] for name in FIELDS}, per_pair=saved["per_pair"])
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} does not hold saved pair subgraphs ({error})") from error
