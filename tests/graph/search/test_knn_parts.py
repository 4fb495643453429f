"""The kNN graph of a file, part by part: the bits of KNNGraph for any number of processes, kills, and bad input."""
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.graph import KNNGraph
from mprd_pyg.graph.search.embedding_file import EmbeddingFile
from mprd_pyg.graph.search.knn_parts import KNNParts


def saved(folder, x):
    np.save(folder / "x.npy", x)
    return EmbeddingFile(folder / "x.npy")


def searched(parts, world_size):
    for rank in range(world_size):
        parts.search(rank, world_size)
    return parts.join()


def same(found, x, k, metric, threshold=None, k_max=None):
    """Neighbours and order of both exact kinds of KNNGraph; the similarities' bits are those of its own search."""
    for index in ("Flat", "exact"):
        graph = KNNGraph(k, metric, threshold, k_max, index)(x)
        assert torch.equal(found.edge_index, graph.edge_index), index
        assert found.num_capped == graph.num_capped
    assert torch.equal(found.edge_attr, graph.edge_attr)
    assert found.num_nodes == len(x)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 40), d=st.integers(1, 5), spread=st.integers(0, 3), k=st.integers(1, 6),
       metric=st.sampled_from(["cosine", "l2"]), threshold=st.sampled_from([None, -1, 0, 0.5]),
       spare=st.sampled_from([None, 0, 3]), part_rows=st.integers(7, 40), world_size=st.sampled_from([1, 2, 4]),
       seed=st.integers(0, 9999))
def test_ties_and_duplicates(n, d, spread, k, metric, threshold, spare, part_rows, world_size, seed):
    x = np.random.default_rng(seed).integers(-spread, spread + 1, (n, d)).astype(np.float32)
    k, k_max = min(k, n - 1), None if spare is None else min(k, n - 1) + spare
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        parts = KNNParts(saved(folder, x), folder / "parts", k, metric, threshold, k_max, part_rows=part_rows)
        same(searched(parts, world_size), torch.from_numpy(x), k, metric, threshold, k_max)


@pytest.mark.parametrize(("metric", "kind", "threshold"), [("cosine", "float32", None), ("l2", "float32", None),
                                                           ("cosine", "float64", 0.3), ("cosine", "float16", None),
                                                           ("l2", ">f4", -60.0)])
def test_any_number_of_processes_gives_the_bits_of_the_graph_in_memory(tmp_path, metric, kind, threshold):
    x = np.random.default_rng(0).normal(size=(3500, 48)).astype(kind)
    x[2000:2050] = x[:50]  # duplicates: ties across parts and blocks
    file, k_max = saved(tmp_path, x), None if threshold is None else 40
    tight = KNNParts(file, tmp_path, 7, k_max=k_max, part_rows=900).part_bytes + 1500 * file.bytes_per_row
    for world_size in (1, 2, 4):
        parts = KNNParts(file, tmp_path / f"parts{world_size}", 7, metric, threshold, k_max, tight, part_rows=900)
        assert not parts.fits and parts.block_rows == 1500, "the bank is read in blocks"
        same(searched(parts, world_size), torch.from_numpy(x.astype(x.dtype.newbyteorder("="))), 7, metric, threshold,
             k_max)
    whole = KNNParts(file, tmp_path / "whole", 7, metric, threshold, k_max)
    assert whole.fits
    assert torch.equal(searched(whole, 3).edge_attr, parts.join().edge_attr)


def test_another_number_of_processes_goes_on_where_a_search_was_killed(tmp_path):
    x = np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32)
    parts = KNNParts(saved(tmp_path, x), tmp_path / "parts", 5, part_rows=40)
    parts.search(1, 4)  # the others were killed before their first part
    done = {path: path.stat().st_mtime_ns for path in parts.folder.iterdir()}
    assert len(done) == 2
    with pytest.raises(ValueError, match=r"rows 0 \.\.\. 36 were not searched: a process was stopped"):
        parts.join()
    (parts.folder / (parts.path(0).name + ".part")).write_bytes(b"what a killed process was writing")
    assert parts.search(0, 2) + parts.search(1, 2) == 2
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())
    same(parts.join(), torch.from_numpy(x), 5, "cosine")
    parts.remove()
    assert not any(parts.folder.iterdir())


def test_damaged_parts_and_those_of_another_input_are_searched_again(tmp_path):
    x = np.random.default_rng(2).normal(size=(300, 8)).astype(np.float32)
    parts = KNNParts(saved(tmp_path, x), tmp_path / "parts", 5, part_rows=100)
    parts.search()
    content = bytearray(parts.path(0).read_bytes())
    content[len(content) // 2] ^= 1
    parts.path(0).write_bytes(content)
    parts.path(1).write_bytes(parts.path(1).read_bytes()[:-100])
    assert parts.search() == 1
    same(parts.join(), torch.from_numpy(x), 5, "cosine")
    assert KNNParts(parts.file, parts.folder, 6, part_rows=100).search() == 0, "another k"
    x[0, 0] += 1
    assert KNNParts(saved(tmp_path, x), parts.folder, 6, part_rows=100).search() == 0, "another matrix"
    with pytest.raises(ValueError, match="were not searched"):
        parts.join()


def test_bad_input_is_refused_in_one_line(tmp_path):
    x = np.ones((50, 4), np.float32)
    x[33, 2] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite values in row 33"):
        KNNParts(saved(tmp_path, x), tmp_path / "parts", 3, part_rows=20).search()
    with pytest.raises(ValueError, match=r"k=50 .* only 49 others \(50 rows\)"):
        KNNParts(saved(tmp_path, x), tmp_path / "parts", 50)
    with pytest.raises(ValueError, match="do not hold a part .* give at least 0.00"):
        KNNParts(saved(tmp_path, x), tmp_path / "parts", 3, memory=1000)
    for wrong in (x[0], x[None], np.ones((50, 4), int), x.astype(complex), x[:0]):
        with pytest.raises(ValueError, match=r"holds .* of shape .* expected a float array \(N, d\)"):
            saved(tmp_path, wrong)
    with pytest.raises(ValueError, match="Fortran order"):
        saved(tmp_path, np.asfortranarray(x))
    (tmp_path / "x.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no readable .npy file"):
        EmbeddingFile(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.ones((100, 100)))
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-9])
    with pytest.raises(ValueError, match="no readable .npy file"):
        EmbeddingFile(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", x=x)
    with pytest.raises(ValueError, match="holds an archive"):
        EmbeddingFile(tmp_path / "x.npz")
    with pytest.raises(FileNotFoundError, match="no embedding matrix"):
        EmbeddingFile(tmp_path / "y.npy")
