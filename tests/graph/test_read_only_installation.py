"""The package on a read-only disk, for a user without a home: numba may keep its machine code nowhere."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mprd_pyg

BUILD = """
import torch
from mprd_pyg.graph import KNNGraph, NeighbourLists
from mprd_pyg.graph.search import candidates
x = torch.arange(12.0).reshape(-1, 1)
for index in ("Flat", "exact", "nndescent"):
    graph = KNNGraph(k=1, metric="l2", index=index, threshold=-0.5)(x)
    assert graph.edge_index[0].tolist() == [1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], graph.edge_index
assert NeighbourLists.from_graph(graph).both_ways[0][-1] == 22
assert candidates.absorb._cache.__class__.__name__ == "NullCache"
print(candidates.__file__)
"""


def test_builds_graphs_where_nothing_can_be_written(tmp_path):
    # Root may write into a folder of mode 0555, so every folder that numba could use is a file here: __pycache__ beside
    # each module, and the home, below which the cache folder would lie. Nobody can make a folder under a file.
    package = tmp_path / "mprd_pyg"
    shutil.copytree(Path(mprd_pyg.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    folders = [package, *(path for path in package.rglob("*") if path.is_dir())]
    for folder in folders:
        (folder / "__pycache__").touch()
        folder.chmod(0o555)
    (tmp_path / "home").touch()
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    try:
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", BUILD], capture_output=True, text=True,
                              cwd=tmp_path, timeout=300,
                              env={**kept, "HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path)})
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(package)
