"""PairExplorer without a browser: its traits, and the messages that the page sends."""
import itertools

import numpy as np
import pandas as pd
import pytest

from mprd_pyg.relations import append_statements, read_statements
from pipelines.runs.run import Run

pytest.importorskip("anywidget", reason="anywidget is not installed: pip install 'mprd-pyg[explorer]'")
from pipelines.explorer.pair_explorer import PAGE, PairExplorer, decision  # noqa: E402


def send(explorer, action, *values):
    """As the page does it."""
    explorer._handle_custom_msg({"do": action, "with": list(values)}, [])


def choose(explorer, **filters):
    explorer.set_state({"filters": explorer.filters | filters})


def statements(explorer):
    return [tuple(one[:3]) for one in read_statements(explorer.file)]


def test_pairs_are_those_of_the_run_with_both_directions_as_one(small_run):
    explorer, run = PairExplorer(small_run), Run(small_run)
    for epoch in run.epochs:
        choose(explorer, epoch=epoch, order="most likely")
        slow = {}
        for pair in run.pairs(epoch).itertuples():
            ends = tuple(sorted((pair.anchor, pair.neighbour)))
            likelihood, believed = slow.get(ends, (0, False))
            slow[ends] = max(likelihood, pair.likelihood), believed or pair.believed
        table = explorer.pairs()
        assert set(table.index) == {pair for pair in slow if max(pair) < run.rows}
        assert [(line.likelihood, line.believed) for line in table.itertuples()] == [slow[pair] for pair in table.index]
        assert table["likelihood"].is_monotonic_decreasing
        person = run.images["person_id"].to_numpy()
        assert (table["truth"] == [person[a] == person[b] for a, b in table.index]).all()
        assert explorer.total == len(table) and [tuple(line["pair"]) for line in explorer.listed] == \
            table.index[:PAGE].tolist()


def test_filters(small_run):
    explorer = PairExplorer(small_run)
    choose(explorer, order="least likely")
    every, camera = explorer.pairs(), explorer.explored.camera
    assert every["likelihood"].is_monotonic_increasing
    first, second = (camera[list(end)] for end in zip(*every.index, strict=True))
    for filters, passes in (
            ({"truth": "true"}, every["truth"]), ({"truth": "false"}, ~every["truth"]),
            ({"truth": "unknown"}, every["truth"].isna()),
            ({"likelihood": [0.3, 0.6]}, every["likelihood"].between(0.3, 0.6)),
            ({"cameras": "across"}, first != second), ({"cameras": "same"}, first == second),
            ({"cameras": "1 – 2"}, first != second), ({"cameras": "2 – 2"}, (first == 2) & (second == 2))):
        choose(explorer, **{"truth": "any", "likelihood": [0, 1], "cameras": "any"} | filters)
        assert explorer.pairs().index.tolist() == every.index[np.asarray(passes, bool)].tolist()
        assert explorer.total == int(np.sum(passes)) and not explorer.message
        if explorer.listed:
            assert explorer.shown["pair"] == explorer.listed[0]["pair"]
    choose(explorer, epoch=99)
    assert "epoch 99 has no pairs" in explorer.message


def test_a_pair_is_shown_with_its_neighbours_and_statistics(small_run):
    explorer, run = PairExplorer(small_run), Run(small_run)
    table = run.subgraphs().table
    saved = table[(table["epoch"] == run.epochs[0])].iloc[0]
    choose(explorer, epoch=run.epochs[0])
    send(explorer, "show", int(saved["anchor"]), int(saved["neighbour"]))
    scene, data = explorer.shown, run.subgraphs()[int(saved.name)]
    assert scene["graph"] == f"graph of epoch {run.epochs[0]}"
    assert sorted(node["row"] for node in scene["nodes"]) == sorted(data.n_id.tolist())
    assert scene["pair"] == sorted((saved["anchor"], saved["neighbour"]))
    root = int(data.n_id[data.root_index.flatten()[0]])
    assert [node["row"] for node in scene["nodes"] if node["root"] == 0] == [root]
    assert all(node["image"].startswith("data:image/jpeg;base64,") for node in scene["nodes"])
    assert len({(node["x"], node["y"]) for node in scene["nodes"]}) == len(scene["nodes"])
    values = run.subgraphs().statistics
    of_epoch = table["epoch"] == run.epochs[0]
    true, false = (values[of_epoch & (table["truth"] == which).fillna(False)].median() for which in (True, False))
    assert scene["kinds"] == ["true pairs", "false pairs"]
    for name, this, *typical in scene["statistics"]:
        column = name.replace(" ", "_")
        np.testing.assert_allclose([this, *typical], [values[column][saved.name], true[column], false[column]])


def test_an_unsaved_pair_is_cut_out_of_the_memory_and_one_can_walk_on(small_run):
    explorer, run = PairExplorer(small_run), Run(small_run)
    table = run.subgraphs().table
    saved = {frozenset(pair) for pair in zip(table["anchor"], table["neighbour"], strict=True)}
    pair = next(pair for pair in itertools.combinations(range(run.rows), 2) if frozenset(pair) not in saved)
    send(explorer, "show", *pair)
    assert explorer.shown["graph"].startswith(f"graph of epoch {run.epochs[-1]}")
    assert explorer.shown["pair"] == list(pair)
    graph = run.memory_graph()
    near = {root: set(graph.edge_index[0][graph.edge_index[1] == root].tolist()) for root in pair}
    rows = {node["row"] for node in explorer.shown["nodes"]}
    assert rows <= near[pair[0]] | near[pair[1]] | set(pair) and near[pair[0]] <= rows
    neighbour = next(row for row in near[pair[0]] if row not in pair)
    send(explorer, "walk", pair[0], neighbour)
    assert explorer.shown["pair"] == sorted((pair[0], neighbour)) and explorer.shown["can_go_back"]
    send(explorer, "back")
    assert explorer.shown["pair"] == list(pair) and not explorer.shown["can_go_back"]
    send(explorer, "walk", 0, 10 ** 6)
    assert "two different rows" in explorer.message and explorer.shown["pair"] == list(pair)


def test_what_is_said_is_kept_at_once_and_not_asked_again(small_run):
    explorer = PairExplorer(small_run)
    said = []
    for verdict in ("same", "different", "unsure"):
        said.append((tuple(explorer.shown["pair"]), verdict))
        send(explorer, "say", verdict)
        assert not explorer.message
        paths = explorer.explored.paths
        assert statements(explorer) == [(paths[a], paths[b], word) for (a, b), word in said]
    assert explorer.said == {"same": 1, "different": 1, "unsure": 1}
    again = PairExplorer(small_run)
    assert again.said == explorer.said and again.shown["pair"] == explorer.shown["pair"]
    asked = again.pairs().index
    for pair, verdict in said:
        assert pair not in asked
        send(again, "show", *pair)
        assert again.shown["said"] == verdict


def test_the_most_informative_come_first_and_what_follows_is_skipped(small_run):
    explorer = PairExplorer(small_run)
    gain = explorer.pairs()["gain"]
    count = int(gain.notna().sum())
    assert count and gain.iloc[:count].is_monotonic_decreasing and gain.iloc[count:].isna().all()
    rest, middle = explorer.pairs().iloc[count:], decision(explorer.explored.table(explorer.filters["epoch"]))
    assert (rest["likelihood"] - middle).abs().is_monotonic_increasing
    a, b = explorer.shown["pair"]
    c = next(row for row in range(explorer.explored.rows) if row not in (a, b))
    explorer.say("same", a, b)
    explorer.say("same", b, c)
    send(explorer, "show", a, c)
    assert explorer.shown["said"] == "(same)" and tuple(sorted((a, c))) not in explorer.pairs().index


def test_a_contradiction_is_named_and_not_kept(small_run):
    explorer = PairExplorer(small_run)
    paths = explorer.explored.paths
    explorer.say("same", 0, 1)
    explorer.say("same", 1, 2)
    before = explorer.file.read_bytes()
    send(explorer, "show", 0, 2)
    send(explorer, "say", "different")
    assert all(part in explorer.message for part in ("not kept", paths[0], f"{paths[1]} (line 2)", "line 3"))
    assert explorer.file.read_bytes() == before
    send(explorer, "say", "perhaps")
    assert "same, different, unsure" in explorer.message and explorer.file.read_bytes() == before
    explorer.say("different", 0, 1)  # another mind about the pair itself
    assert [one[2] for one in statements(explorer)] == ["same", "different"]
    explorer.say("different", 0, 2)
    assert explorer.said == {"same": 1, "different": 2, "unsure": 0}


def test_others_may_write_meanwhile(small_run):
    explorer = PairExplorer(small_run)
    paths = explorer.explored.paths
    append_statements(explorer.file, [(paths[3], paths[4], "same"), (paths[4], paths[5], "same")])
    send(explorer, "show", 3, 5)
    send(explorer, "say", "different")
    assert "not kept" in explorer.message


def test_a_run_without_identities_memory_or_subgraphs(small_run):
    images = pd.read_parquet(small_run / "images.parquet").assign(person_id=-1)
    images.to_parquet(small_run / "images.parquet", index=False)
    (small_run / "checksums.json").write_text("{}")
    (small_run / "subgraphs" / "manifest.json").unlink()
    explorer = PairExplorer(small_run)
    assert explorer.shown["kinds"] == ["believed", "not believed"] and explorer.shown["truth"] is None
    assert len(explorer.shown["statistics"]) > 5
    (small_run / "checkpoints" / "last.pt").unlink()
    explorer = PairExplorer(small_run)
    assert len(explorer.shown["nodes"]) == 2 and "its neighbours are unknown" in explorer.shown["graph"]
    send(explorer, "say", "same")
    assert explorer.said["same"] == 1 and not explorer.message


def test_bad_files_are_refused(small_run):
    (small_run / "constraints.csv").write_text("path,other_path,verdict\nno.jpg,other.jpg,same\n")
    with pytest.raises(ValueError, match="line 2: no image is called 'no.jpg'"):
        PairExplorer(small_run)
    with pytest.raises(FileNotFoundError, match="no run folder"):
        PairExplorer(small_run / "pairs")
