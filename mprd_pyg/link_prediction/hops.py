"""How far a pair's subgraph should reach, chosen on the validation pairs."""
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from mprd_pyg.graph import NeighbourLists, PairSubgraphs
from mprd_pyg.link_prediction.figures import link_figures
from mprd_pyg.link_prediction.splits import LinkSplit
from mprd_pyg.random_streams import stream

SAMPLE = 2000  # pairs of each part, at most


def choose_hops(split: LinkSplit, build: Callable[[int], PairSubgraphs] = partial(PairSubgraphs, "induced"),
                margin: float = 0.02, most_edges: int = 20_000, most: int = 3,
                seed: int = 0) -> int:
    """1, 2 or 3: one more where a linear model on the counts of DRNL labels tells validation pairs better with it.

    Zhang & Chen (NeurIPS 2018, Sec. 4) choose 2 where Adamic-Adar beats common neighbours on validation pairs, which
    cannot tell on a graph with few triangles, where both are nearly always 0.

    Args:
        split: training pairs to fit the model on, validation pairs to compare on.
        build: number of hops -> how subgraphs are cut out.
        margin: of AUC by which one more must win, since it costs more.
        most_edges: one more is not tried where it gives more edges per subgraph, on average.
        most: hops that are tried (SEAL: 2).
        seed: of the sample.
    """
    from sklearn.linear_model import Ridge  # imported here: it takes seconds
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    lists = NeighbourLists.from_graph(split.observed("train"))
    rows = {part: torch.randperm(len(split.pairs[part]), generator=stream(seed, 22))[:SAMPLE]
            for part in ("train", "validation")}
    pairs = {part: split.pairs[part][mine] for part, mine in rows.items()}
    best = 0.0
    for hops in range(1, most + 1):
        subgraphs, trial = build(hops), pairs["train"][:16]
        if hops > 1 and subgraphs(lists, trial).num_edges > most_edges * len(trial):
            return hops - 1
        counts = {part: label_counts(subgraphs, lists, mine) for part, mine in pairs.items()}
        model = make_pipeline(StandardScaler(), Ridge()).fit(counts["train"], split.label["train"][rows["train"]])
        score = model.predict(counts["validation"])
        auc = link_figures(score, split.label["validation"][rows["validation"]], ())["auc"]
        if hops > 1 and auc <= best + margin:
            return hops - 1
        best = auc
    return most


def label_counts(subgraphs: PairSubgraphs, lists: NeighbourLists, pairs: Tensor, highest: int = 30,
                 chunk: int = 64) -> Tensor:
    """log(1 + number) of nodes with each DRNL label (the largest together), and of edges: (P, highest + 2)."""
    parts = []
    for part in pairs.split(chunk):
        batch = subgraphs(lists, part)
        key = batch.batch * (highest + 1) + batch.z.clamp(max=highest)
        nodes = torch.bincount(key, minlength=len(part) * (highest + 1)).view(len(part), -1)
        edges = torch.bincount(batch.batch[batch.edge_index[1]], minlength=len(part)).unsqueeze(1)
        parts.append(torch.cat([nodes, edges], dim=1))
    return torch.cat(parts).double().log1p()
