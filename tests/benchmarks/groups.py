"""Time and memory of grouping: python tests/benchmarks/groups.py [rows] [dim] [added] [small].

Baseline: scikit-learn's DBSCAN on all cosine distances, on ``small`` rows. Features are generated in groups of 20, with
a cosine of about 0.5 within a group; they are kept in a groups folder and mapped from it, as by ``pipelines.groups``.
"""
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from measure import Table, timed
from sklearn.cluster import DBSCAN

from mprd_pyg.evaluation import evaluate_groups
from mprd_pyg.grouping import GroupFolder, find_groups
from mprd_pyg.grouping.group_files import COLUMNS
from mprd_pyg.grouping.group_folder import PENDING


def generated(count, dim, size=20):
    """Unit features (count, dim), images of each of count / size individuals after each other, and who they are."""
    generator = torch.Generator().manual_seed(0)
    person = torch.arange(count) // size
    centre = F.normalize(torch.randn(int(person[-1]) + 1, dim, generator=generator), dim=1)
    x = torch.empty(count, dim)
    for start in range(0, count, 8192):
        rows = person[start:start + 8192]
        noise = torch.randn(len(rows), dim, generator=generator) / dim ** 0.5
        x[start:start + 8192] = F.normalize(centre[rows] + noise, dim=1)
    return x, person


def append(folder, x):
    """Features as if they had been embedded."""
    paths = [f"{len(folder) + i:07d}.jpg" for i in range(len(x))]
    rows = pd.DataFrame({"path": paths, "root": 0, "bytes": 0, "mtime_ns": 0, "person_id": -1, "camera_id": 0,
                         "group": -1, "confidence": 0.0, "verdict": PENDING, "similarity": np.nan, "nearest": -1,
                         "nearest_similarity": 0.0})
    folder.about["roots"] = ["generated"]
    folder.files.save(pd.concat([folder.files.table, rows], ignore_index=True).astype(COLUMNS), x.numpy())


def opened(name):
    folder = GroupFolder(name, torch.nn.Identity(), (1, 1))
    folder.about["checkpoint"] = ""
    return folder


def main(rows=100_000, dim=512, added=1000, small=5000):
    print(f"N = {rows:,} in groups of 20, d = {dim}, {torch.get_num_threads()} threads\n")
    table = Table("images", torch.get_num_threads())
    x, person = generated(rows + added, dim)
    find_groups(x[:500])  # compiled before anything is timed
    dbscan = DBSCAN(0.7, min_samples=2, metric="cosine")
    wall, cpu, label = timed(lambda: dbscan.fit(x[:small].numpy()).labels_, 1)
    baseline = table.row(f"scikit-learn's DBSCAN on all distances, N = {small:,}", small, wall, cpu)
    quality = [("DBSCAN", evaluate_groups(label, person[:small]))]
    wall, cpu, found = timed(lambda: find_groups(x[:small]), 1)
    table.row(f"find_groups, N = {small:,}", small, wall, cpu, baseline)
    quality.append((f"{small:,}", evaluate_groups(found.group, person[:small])))
    order = torch.randperm(rows + added, generator=torch.Generator().manual_seed(1))
    x, person = x[order], person[order]  # the added ones are of groups that are there
    with tempfile.TemporaryDirectory() as name:
        append(opened(Path(name) / "groups"), x[:rows])
        wall, cpu, folder = timed(lambda: grouped(Path(name) / "groups"), 1)
        table.row(f"a folder of {rows:,}: opened, checked, grouped, written", rows, wall, cpu, baseline)
        quality.append((f"{rows:,}", evaluate_groups(folder.groups.group, person[:rows])))
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20

        def add():
            folder = opened(Path(name) / "groups")
            append(folder, x[rows:])
            folder.group()
            return folder
        wall, cpu, folder = timed(add, 1)
        table.row(f"{added:,} added to it: opened, checked, joined, written", added, wall, cpu)
        quality.append((f"{added:,} added", evaluate_groups(folder.groups.group, person)))
    print()
    for name, found in quality:
        print(f"{name}: pairwise F {found.pair_f:.3f}, {found.groups:,} groups of {found.identities:,}")
    print(f"most memory of the process {most:.2f} GiB, its libraries and the generated features included")


def grouped(name):
    folder = opened(name)
    folder.group()
    return folder


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
