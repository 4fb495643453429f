"""Time and memory of k-reciprocal encoding: python tests/benchmarks/reciprocal.py [rows] [dim] [cameras] [small].

Baseline: the dense N x N form of the published re-ranking codes, on ``small`` rows. Features are generated in groups
of 31, as many images as an identity of MSMT17 has, over a few cameras each.
"""
import resource
import sys

import numpy as np
import torch
import torch.nn.functional as F
from measure import Table, timed
from torch_geometric.data import Data

from mprd_pyg.graph.reciprocal_rows import camera_reciprocal_rows, jaccard_neighbours, k_reciprocal_rows
from mprd_pyg.relations import KReciprocalJaccard, Whitened


def clustered(n, dim, cameras, noise=0.8):
    """Unit features (n, dim) in groups of 31 and their cameras (n,), four of them per group."""
    torch.manual_seed(0)
    group = torch.arange(n) // 31
    camera = (group * 5 + torch.randint(4, (n,))) % cameras
    x = torch.randn(int(group[-1]) + 1, dim)[group] + noise * torch.randn(n, dim)
    return F.normalize(x.add_(0.5 * torch.randn(cameras, dim)[camera])), camera


def dense_jaccard(x, k1=30, k2=6):
    """Jaccard similarity (N, N) with dense rows, one image after the other, as the published codes do it."""
    n = len(x)
    similarity = (x @ x.T).numpy()
    rank = np.argsort(-similarity, axis=1)

    def reciprocal(i, k):
        forward = rank[i, :k + 1]
        return forward[(rank[forward, :k + 1] == i).any(1)]
    rows = np.zeros((n, n), np.float32)
    for i in range(n):
        mutual = expanded = reciprocal(i, k1)
        for c in mutual:
            short = reciprocal(c, round(k1 / 2))
            if len(np.intersect1d(short, mutual)) > 2 / 3 * len(short):
                expanded = np.append(expanded, short)
        expanded = np.unique(expanded)
        weight = np.exp(2 * similarity[i, expanded] - 2)
        rows[i, expanded] = weight / weight.sum()
    rows = np.stack([rows[rank[i, :k2]].mean(0) for i in range(n)])
    inverted = [np.nonzero(column)[0] for column in rows.T]
    answer = np.zeros((n, n), np.float32)
    for i in range(n):
        common = np.zeros(n, np.float32)
        for c in np.nonzero(rows[i])[0]:
            common[inverted[c]] += np.minimum(rows[i, c], rows[inverted[c], c])
        answer[i] = common / (2 - common)
    return answer


def main(n=32_621, dim=256, cameras=15, small=3000):
    print(f"N = {n:,}, d = {dim}, {cameras} cameras, {torch.get_num_threads()} threads\n")
    table = Table("rows", torch.get_num_threads())
    x, camera = clustered(small, dim, cameras)
    jaccard_neighbours(camera_reciprocal_rows(x, camera))  # compiled before anything is timed
    wall, cpu, expected = timed(lambda: dense_jaccard(x), 1)
    baseline = table.row(f"dense, N = {small:,}", small, wall, cpu)
    wall, cpu, (row, other, value) = timed(lambda: jaccard_neighbours(k_reciprocal_rows(x)))
    table.row(f"plain, N = {small:,}", small, wall, cpu, baseline)
    found = np.zeros_like(expected)
    found[row, other] = value
    np.fill_diagonal(expected, 0)
    differ = (np.abs(found - expected) > 1e-4).mean()
    x, camera = clustered(n, dim, cameras)
    wall, cpu, rows = timed(lambda: k_reciprocal_rows(x), 1)
    table.row(f"plain rows, N = {n:,}", n, wall, cpu, baseline)
    wall, cpu, rows = timed(lambda: camera_reciprocal_rows(x, camera, 5, 20, 1, 4, expand=False), 1)
    table.row("camera-aware rows, 5 + 20, not expanded", n, wall, cpu, baseline)
    wall, cpu, rows = timed(lambda: camera_reciprocal_rows(x, camera, 4, 29), 1)
    table.row("camera-aware rows, 4 + 29", n, wall, cpu, baseline)
    wall, cpu, pairs = timed(lambda: jaccard_neighbours(rows, least=0.3), 1)
    table.row(f"all J >= 0.3: {len(pairs[0]):,} pairs", n, wall, cpu)
    confident = memory()
    graph = Data(x=x, camera_id=camera, num_nodes=n, rows=torch.arange(n))
    wall, cpu, pairs = timed(lambda: Whitened(KReciprocalJaccard())(graph), 1)
    table.row(f"Whitened: {int(pairs.believed.sum()):,} pairs", n, wall, cpu)
    whitened = memory()
    wall, cpu, pairs = timed(lambda: jaccard_neighbours(rows), 1)
    table.row(f"all J > 0: {len(pairs[0]):,} pairs", n, wall, cpu)
    print(f"\n{rows.nnz / n:.0f} entries a row; {100 * differ:.4f} % of the dense baseline's entries differ by "
          f"more than 0.0001; most memory of the process {confident:.2f} GiB up to J >= 0.3, "
          f"{whitened:.2f} GiB up to Whitened, {memory():.2f} GiB in all")


def memory():
    """Most memory that the process has held, in GiB, its libraries and features included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
