"""What scorers are asked, and which is chosen."""
import networkx as nx
import pytest

from mprd_pyg.link_prediction import HEURISTICS, LinkGraph, Questions, split_links


@pytest.fixture(scope="module")
def split():
    graph = nx.powerlaw_cluster_graph(60, 4, 0.5, seed=4)
    return split_links(LinkGraph.from_edges(list(graph.edges), 60), validation=0.2, seed=1)


@pytest.mark.parametrize("own", [0, 10])
def test_worth_is_the_figure_of_validation(split, own):
    questions = Questions(split, own)
    scores = questions.ask(HEURISTICS["adamic_adar"])
    assert set(scores) == {"validation", "test"} | ({"validation/own", "test/own"} if own else set())
    figures = questions.figures(scores, (5,))
    assert questions.worth(scores) == pytest.approx(figures["validation"]["mrr" if own else "auc"])
    assert questions.merit(HEURISTICS["adamic_adar"], every=1) == pytest.approx(questions.worth(scores))
    assert ("own_hits@5" in figures["test"]) == bool(own)


def test_the_usual_scorer_stays_unless_another_is_clearly_better(split):
    questions, label = Questions(split), split.label["validation"]
    links = int(label.sum())
    perfect, one_wrong, half_wrong = (label.double() for _ in range(3))
    one_wrong[0] = half_wrong[:links // 2] = -1
    perfect, one_wrong, half_wrong = ({"validation": score} for score in (perfect, one_wrong, half_wrong))
    # one link decides: the gain, 1 / L, is not more than its standard error, sqrt((L - 1) / L) / L, by more than a bit
    assert questions.worth(one_wrong) == pytest.approx(1 - 1 / links)
    assert questions.choose({"a": half_wrong, "mean": one_wrong}) == "mean"
    assert questions.choose({"a": perfect, "mean": half_wrong}) == "a"
    assert questions.choose({"a": perfect, "b": one_wrong}) == "a"
    noisy = perfect["validation"].clone()
    noisy[0], noisy[1] = -1, 1.0
    worse = perfect["validation"].clone()
    worse[1:3] = -1  # two links lost here, one there: no clear difference
    assert questions.choose({"a": {"validation": noisy}, "mean": {"validation": worse}}) == "mean"
