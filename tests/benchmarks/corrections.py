"""How far a few answers correct a run's groups: the pairs that informative_pairs chooses, answered from the truth.

python tests/benchmarks/corrections.py RUN [--questions 60] [--at_a_time 1]

Prints pairwise F of the groups of the last epoch's judged pairs after 0, 15, 30, 45 and 60 answers, for the run's own
believed pairs closed and for DBSCAN, and beside it a plain rule: of the pairs not implied, the one whose likelihood is
nearest to the decision, that of the largest groups first (product of the sizes).
"""
import argparse

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data

from mprd_pyg.evaluation import evaluate_groups
from mprd_pyg.relations import (
    DBSCAN,
    ConnectedComponents,
    ConstrainedGroups,
    Constraints,
    GroupFinder,
    correct,
    informative_pairs,
)
from mprd_pyg.relations.constraints import pairs_of
from pipelines.runs.run import Run


def nearest_to_decision(pairs: Data, group: torch.Tensor, said: Constraints, number: int,
                        decision: float) -> torch.Tensor:
    """The plain rule; (2, Q) rows."""
    label = np.where(group >= 0, group, int(group.max()) + 1 + np.arange(len(group)))
    size = np.bincount(label)[label]
    edges = pairs.edge_index
    likelihood = pairs.likelihood.numpy()
    near = np.where(likelihood > decision, (1 - likelihood) / (1 - decision), likelihood / decision)
    score = near * size[edges[0]] * size[edges[1]]
    score[(said.same(edges) | said.different(edges)).numpy()] = -1
    best = torch.from_numpy(np.argsort(-score, kind="stable")[:number].copy())
    return edges[:, best]


def answer(pairs: Data, person: np.ndarray, finder: GroupFinder, choose, questions: int, at_a_time: int) -> list[float]:
    """Pairwise F before each round of questions, and after the last."""
    said: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    quality = []
    for asked in range(0, questions + 1, at_a_time):
        known = Constraints(pairs_of(said[True]), pairs_of(said[False]), len(person))
        corrected = correct(pairs, known, torch.arange(len(person)))
        group = ConstrainedGroups(finder, known)(corrected)
        quality.append(evaluate_groups(group, person).pair_f)
        for a, b in choose(corrected, group, known, min(at_a_time, questions - asked)).T.tolist():
            said[bool(person[a] == person[b])].append((a, b))
    return quality


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--at_a_time", type=int, default=1)
    options = parser.parse_args()
    run = Run(options.run)
    table = run.pairs()
    table = table[(table["branch"] == 0) & (table[["anchor", "neighbour"]].max(axis=1) < run.rows)]
    pairs = Data(edge_index=torch.tensor(table[["neighbour", "anchor"]].to_numpy().T.copy()),
                 **{name: torch.tensor(table[column].to_numpy()) for name, column in (
                     ("edge_attr", "similarity"), ("likelihood", "likelihood"), ("believed", "believed"))},
                 num_nodes=run.rows)
    person, lines = run.images["person_id"].to_numpy()[:run.rows], []
    finders = {"believed pairs, closed": (ConnectedComponents(), 0.3), "DBSCAN(0.5, 4)": (DBSCAN(0.5, 4), 0.5),
               "DBSCAN(0.6, 4)": (DBSCAN(0.6, 4), 0.4)}
    for name, (finder, decision) in finders.items():
        rules = {"informative_pairs": lambda *given: informative_pairs(*given).pairs,
                 "nearest to the decision": lambda *given, at=decision: nearest_to_decision(*given, at)}
        for rule, choose in rules.items():
            quality = answer(pairs, person, finder, choose, options.questions, options.at_a_time)
            places = np.linspace(0, len(quality) - 1, 5).round().astype(int)
            lines.append({"groups": name, "questions by": rule, **{
                f"F after {place * options.at_a_time}": round(quality[place], 3) for place in places}})
    print(pd.DataFrame(lines).to_string(index=False))


if __name__ == "__main__":
    main()
