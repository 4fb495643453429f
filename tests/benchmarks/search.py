"""How long a query takes among many features: python tests/benchmarks/search.py [--index_type HNSW32]."""
import argparse
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import torch
from torch import nn

from mprd_pyg.evaluation import GallerySearch
from mprd_pyg.retrieval.gallery_files import save_gallery
from mprd_pyg.retrieval.gallery_index import new_index


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2048, help="2048 is MPRD's ResNet-50, 1536 PAUL's six branches")
    parser.add_argument("--index_type", default="SQfp16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--top", type=int, default=10)
    args = parser.parse_args()
    faiss.omp_set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(args.count // 20, args.dim, generator=generator)
    person = torch.randint(len(people), (args.count + args.queries,), generator=generator)
    x = torch.empty(len(person), args.dim)
    for start in range(0, len(x), 8192):  # noise of twice the person's own length
        rows = person[start:start + 8192]
        x[start:start + 8192] = nn.functional.normalize(
            people[rows] + 2 * torch.randn(len(rows), args.dim, generator=generator), dim=1)
    gallery, queries = x[:args.count].numpy(), x[args.count:].numpy()

    with tempfile.TemporaryDirectory() as name:
        network = nn.Identity()
        search = GallerySearch(network, (1, 1), name, index_type=args.index_type)
        started = time.perf_counter()
        index = new_index(args.dim, args.index_type)
        index.add(gallery)
        built = time.perf_counter() - started
        table = pd.DataFrame({"path": [f"{i:06d}.jpg" for i in range(args.count)], "bytes": 0, "mtime_ns": 0})
        save_gallery(Path(name), index, table, {
            "network": search.network, "size": [1, 1], "dim": args.dim, "metric": "cosine",
            "index_type": args.index_type, "count": args.count, "root": "", "skipped": []})
        del index
        size = sum(path.stat().st_size for path in Path(name).iterdir())
        started = time.perf_counter()
        search = GallerySearch(network, (1, 1), name)
        loaded = time.perf_counter() - started

        def timed(answer):
            answer(queries[:1])
            spent, found, cpu = [], [], time.process_time()
            for query in queries:
                started = time.perf_counter()
                found.append(answer(query[None])[1][0])
                spent.append(1000 * (time.perf_counter() - started))
            return np.array(spent), np.stack(found), 1000 * (time.process_time() - cpu) / len(queries)

        spent, found, cpu = timed(lambda query: search.nearest(query, args.top))
    matrix = torch.from_numpy(gallery)
    product, exact, product_cpu = timed(
        lambda query: (None, (matrix @ torch.from_numpy(query[0])).topk(args.top).indices[None]))
    recall = np.mean([len(set(a) & set(b)) / args.top for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
    print(f"{args.count} x {args.dim}, {args.index_type}, {args.threads} threads\n\n| | |\n|---|---|")
    print(f"| add to the index | {built:.1f} s |\n| on disk | {size / 2**20:.0f} MiB |\n| load | {loaded:.2f} s |")
    for what, values, used in (("a query", spent, cpu),
                               ("matrix-vector product and top-k, torch, float32", product, product_cpu)):
        print(f"| {what}: median, 95 % of {len(values)}; CPU time of all threads | {np.median(values):.1f}, "
              f"{np.quantile(values, 0.95):.1f}; {used:.1f} ms |")
    print(f"| hits that are those of the float32 product | {100 * recall:.1f} % |")


if __name__ == "__main__":
    main()
