"""Controls believe as many pairs as the judge, the best by another score."""
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.graph.pairs import STATISTICS
from mprd_pyg.relations.controls import CONTROL_COLUMNS, OWN_LISTS, best_as_many


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
@settings(deadline=None)
def test_as_many_and_none_better_is_left_out(pairs):
    score = torch.tensor([float(value) for value, _ in pairs])
    believed = torch.tensor([accepted for _, accepted in pairs], dtype=torch.bool)
    best = best_as_many(score, believed)
    order = sorted(range(len(pairs)), key=lambda e: -pairs[e][0])  # stable: of equal ones the first
    assert best.nonzero().flatten().tolist() == sorted(order[:int(believed.sum())])


def test_columns_exist():
    assert {*CONTROL_COLUMNS.values(), *OWN_LISTS} <= set(STATISTICS)
