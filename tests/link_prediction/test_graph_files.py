"""Reading graphs: every form of file, and what is wrong with a file."""
import pickle
from collections import defaultdict

import numpy as np
import pytest
import torch
from scipy.io import savemat
from scipy.sparse import csc_matrix, csr_matrix
from torch_geometric.data import Data

from mprd_pyg.link_prediction import LinkGraph, read_graph, read_pairs


def named(graph):
    return {tuple(sorted((graph.names[i], graph.names[j]))) for i, j in graph.links.tolist()}


@pytest.mark.parametrize("text", [
    "a b\nb c\n", "# a comment\n% another\n// third\n\na b 0.5\nb c {'weight': 3}\n",
    "source,target,weight\na,b,1\nb,c,2\n",
    "a\tb\nb\tc\n", "a;b\nc;b\n", "\ufeffa,b\nb,a\nb,c\nc,c\n", "from to\nc b\na b\n"])
def test_edge_lists(tmp_path, text):
    path = tmp_path / "links.txt"
    path.write_text(text, encoding="utf-8")
    graph = read_graph(path)
    assert named(graph) == {("a", "b"), ("b", "c")} and graph.num_nodes == 3 and graph.x is None
    assert graph.links.tolist() == sorted(graph.links.tolist()) and bool((graph.links[:, 0] < graph.links[:, 1]).all())


def test_names(tmp_path):
    path = tmp_path / "links.csv"
    path.write_text("10,9\n9,2\n2,2\n9,10\n")
    graph = read_graph(path)
    assert graph.names == ["2", "9", "10"] and graph.links.tolist() == [[0, 1], [1, 2]]
    assert graph.cleaned == {"self_loops": 1, "repeats": 1}
    path.write_text('"Smith, J",Åse\nÅse,01\nÅse,1\n', encoding="utf-8")
    graph = read_graph(path)
    assert named(graph) == {("Smith, J", "Åse"), ("01", "Åse"), ("1", "Åse")}
    path.write_text("from,to\n")  # a header and nothing else
    with pytest.raises(ValueError, match="only a header"):
        read_graph(path)


def test_bad_edge_lists(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.txt"):
        read_graph(tmp_path / "none.txt")
    path = tmp_path / "links.txt"
    for text, message in ((b"# nothing\n", "no line"), (b"a b\nc\n", "line 2.*'c'"),
                          (b"a,b\nb c\n", "line 2.*separator"),
                          (b"a b\n\xff\xfe\x00", "not text"), (b"a,b\n,c\n", "line 2")):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=message) as error:
            read_graph(path)
        assert str(path) in str(error.value)


def test_mat(tmp_path):
    matrix = np.zeros((4, 4))
    matrix[0, 1] = matrix[1, 0] = 2.5
    matrix[2, 1] = -1
    matrix[3, 3] = 1
    path = tmp_path / "graph.mat"
    savemat(path, {"net": csc_matrix(matrix), "other": matrix[:2], "text": "hello"})
    graph = read_graph(path)
    assert graph.links.tolist() == [[0, 1], [1, 2]] and graph.num_nodes == 4
    assert graph.cleaned == {"self_loops": 1, "repeats": 1}
    with pytest.raises(ValueError, match="square"):
        read_graph(path, "other")
    with pytest.raises(ValueError, match="not a matrix of numbers"):
        read_graph(path, "text")
    with pytest.raises(ValueError, match=r"'A'; it holds: net \(4, 4\).*--key"):
        read_graph(path, "A")
    savemat(path, {"A": matrix})
    assert torch.equal(read_graph(path, "A").links, graph.links)
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match="not a readable .mat"):
        read_graph(path)


def test_pyg_data(tmp_path):
    path = tmp_path / "graph.pt"
    edge_index = torch.tensor([[0, 1, 2, 2], [1, 0, 1, 2]])
    torch.save(Data(x=torch.arange(8.0).view(4, 2), edge_index=edge_index, y=torch.ones(4)), path)
    graph = read_graph(path)
    assert graph.links.tolist() == [[0, 1], [1, 2]] and graph.num_nodes == 4 and graph.x.shape == (4, 2)
    assert graph.without_features().x is None
    torch.save(Data(edge_index=edge_index), path)
    assert read_graph(path).num_nodes == 3
    torch.save(Data(edge_index=edge_index, num_nodes=7), path)
    assert read_graph(path).num_nodes == 7
    for data, message in ((Data(x=torch.ones(2, 2)), "without an edge_index"), ({"a": 1}, "dict"),
                          (Data(edge_index=edge_index.float()), "integers"),
                          (Data(edge_index=edge_index, num_nodes=2), "outside 0 ... 1"),
                          (Data(edge_index=edge_index, x=torch.full((3, 1), float("nan"))), "NaN.*--features false"),
                          (Data(edge_index=edge_index, x=torch.ones(4, 1), num_nodes=3), "4 rows")):
        torch.save(data, path)
        with pytest.raises(ValueError, match=message) as error:
            read_graph(path)
        assert str(path) in str(error.value)


class Bomb:
    """Runs code when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def test_nothing_in_a_file_is_run(tmp_path):
    marker = tmp_path / "ran"
    torch.save(Bomb(marker), tmp_path / "graph.pt")
    (tmp_path / "ind.evil.graph").write_bytes(pickle.dumps({0: [1], 1: Bomb(marker)}))
    for name, message in (("graph.pt", "refused"), ("ind.evil.graph", "io.open|_io.open|builtins.open")):
        with pytest.raises(ValueError, match=message):
            read_graph(tmp_path / name)
    assert not marker.exists()
    pickle.loads((tmp_path / "ind.evil.graph").read_bytes())[1].close()
    assert marker.exists()  # the file was a real one


@pytest.mark.parametrize("payload", [b"cos\nsystem\n(S'true'\ntR.", b"c__builtin__\neval\n(S'1'\ntR.",
                                     b"cnumpy.core.multiarray\nscalar\n.", b"cnumpy\nload\n.",
                                     b"ccopy_reg\n_reconstructor\n."])
def test_malicious_pickles_are_refused(tmp_path, payload):
    (tmp_path / "ind.evil.graph").write_bytes(payload)
    with pytest.raises(ValueError, match="it names .*only arrays"):
        read_graph(tmp_path / "ind.evil.graph")


def write_planetoid(folder, protocol):
    lists = defaultdict(list, {0: [1, 2], 1: [0], 2: [0, 3], 3: [2, 5], 4: [], 5: [3]})
    known, tested = np.arange(6.0, dtype=np.float32).reshape(3, 2), np.array([[7, 7], [9, 0]], dtype=np.float32)
    for part, value in (("graph", lists), ("allx", csr_matrix(known)), ("tx", csr_matrix(tested))):
        (folder / f"ind.tiny.{part}").write_bytes(pickle.dumps(value, protocol=protocol))
    (folder / "ind.tiny.test.index").write_text("5\n3\n")
    return known, tested


@pytest.mark.parametrize("protocol", [2, 4])
def test_planetoid(tmp_path, protocol):
    known, tested = write_planetoid(tmp_path, protocol)
    for name in ("ind.tiny.graph", "ind.tiny", "ind.tiny.allx"):
        graph = read_graph(tmp_path / name)
        assert graph.links.tolist() == [[0, 1], [0, 2], [2, 3], [3, 5]] and graph.num_nodes == 6
        expected = np.stack([*known, tested[1], [0, 0], tested[0]])
        assert np.array_equal(graph.x.numpy(), expected)
    for part in ("allx", "tx", "test.index"):
        (tmp_path / f"ind.bare.{part}").unlink(missing_ok=True)
    (tmp_path / "ind.bare.graph").write_bytes((tmp_path / "ind.tiny.graph").read_bytes())
    assert read_graph(tmp_path / "ind.bare.graph").x is None
    with pytest.raises(FileNotFoundError, match="ind.none.graph"):
        read_graph(tmp_path / "ind.none.x")


def test_damaged_planetoid_files(tmp_path):
    known, tested = write_planetoid(tmp_path, 2)
    whole = (tmp_path / "ind.tiny.allx").read_bytes()
    bad = csr_matrix(known)
    bad.indices = bad.indices + 100  # points outside the matrix
    for payload in (whole[:40], pickle.dumps(bad, protocol=2), pickle.dumps([1, 2], protocol=2)):
        (tmp_path / "ind.tiny.allx").write_bytes(payload)
        with pytest.raises(ValueError, match="ind.tiny.allx"):
            read_graph(tmp_path / "ind.tiny.graph")
    (tmp_path / "ind.tiny.allx").write_bytes(whole)
    (tmp_path / "ind.tiny.test.index").write_text("5\n")
    with pytest.raises(ValueError, match="do not fit together"):
        read_graph(tmp_path / "ind.tiny.graph")
    (tmp_path / "ind.tiny.graph").write_bytes(pickle.dumps([1, 2], protocol=2))
    with pytest.raises(ValueError, match="no lists of neighbours"):
        read_graph(tmp_path / "ind.tiny.graph")


def test_pairs(tmp_path):
    graph = LinkGraph.from_edges([[0, 1], [1, 2]], 3, ["a", "b", "c c"])
    path = tmp_path / "pairs.csv"
    path.write_text("source,target\na,c c\nb,a\n")
    assert read_pairs(path, graph).tolist() == [[0, 2], [1, 0]]
    assert graph.has(torch.tensor([[0, 2], [1, 0]])).tolist() == [False, True]
    assert graph.table(torch.tensor([[0, 2]])).to_dict("list") == {"i": [0], "j": [2], "source": ["a"],
                                                                   "target": ["c c"]}
    for text, message in (("a,b\na,d\n", "line 2.*'d'"), ("a,a\n", "'a' twice"), ("from,to\n", "only a header")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_pairs(path, graph)
    with pytest.raises(FileNotFoundError):
        read_pairs(tmp_path / "none", graph)


def test_a_damaged_mat_file_cannot_end_this_process(tmp_path):
    matrix = csc_matrix(np.eye(30, k=1) + np.eye(30, k=-1))
    path = tmp_path / "graph.mat"
    savemat(path, {"net": matrix}, do_compression=False)
    content, place = path.read_bytes(), path.read_bytes().index(matrix.indptr.astype("<i4").tobytes())
    # a column pointer and a row index far outside: a conversion that trusts them reads or writes anywhere
    for where in (place + 4 * 15, content.index(matrix.indices.astype("<i4").tobytes())):
        changed = bytearray(content)
        changed[where:where + 4] = (2**30).to_bytes(4, "little")
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="not a readable .mat"):
            read_graph(path)


def test_a_reader_that_crashes_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "reader.py").write_text("import os\nos.kill(os.getpid(), 11)\n")
    monkeypatch.setattr("mprd_pyg.link_prediction.graph_files.MAT_READER", tmp_path / "reader.py")
    (tmp_path / "graph.mat").write_bytes(b"x")
    with pytest.raises(ValueError, match="graph.mat is not a readable .mat file: its reader was ended by SIGSEGV"):
        read_graph(tmp_path / "graph.mat")


def test_small_files_that_name_a_far_node_take_no_memory(tmp_path):
    far = 10**9
    path = tmp_path / "graph.pt"
    pair = torch.tensor([[0], [1]])
    repeated = torch.zeros(2, 1, dtype=torch.int64).expand(2, 10**10)
    wide = torch.sparse_coo_tensor([[0], [0]], [1.0], (10**6, 10**6), check_invariants=True)
    for data in (Data(edge_index=torch.tensor([[0], [far]])), Data(edge_index=pair, num_nodes=far),
                 Data(edge_index=repeated), Data(edge_index=pair, x=torch.zeros(1, 1).expand(10**9, 10)),
                 Data(edge_index=pair, x=wide), Data(edge_index=pair, num_nodes="many"),
                 Data(edge_index=torch.zeros(2, 3, dtype=torch.bool))):
        torch.save(data, path)
        with pytest.raises(ValueError, match="graph.pt"):
            read_graph(path)
    savemat(tmp_path / "graph.mat", {"net": csc_matrix(([1.0], ([0], [1])), shape=(2 * 10**6, 2 * 10**6))},
            do_compression=True)
    with pytest.raises(ValueError, match="2,000,000 nodes in a file of"):
        read_graph(tmp_path / "graph.mat")


@pytest.mark.parametrize("part", ["graph", "test.index", "allx", "dense", "number"])
def test_planetoid_files_that_name_a_far_node_take_no_memory(tmp_path, part):
    graph = {0: [1, 2], 1: [0], 2: [0]} | {"graph": {10**9: [0]}, "number": {1: [10**40]}}.get(part, {})
    (tmp_path / "ind.far.graph").write_bytes(pickle.dumps(graph))
    known = csr_matrix(np.eye(2, 3))
    if part == "allx":
        known._shape = (2, 10**9)
    (tmp_path / "ind.far.allx").write_bytes(pickle.dumps(known))
    tested = np.broadcast_to(np.zeros((1, 3)), (1, 3)) if part != "dense" else known
    (tmp_path / "ind.far.tx").write_bytes(pickle.dumps(csr_matrix(tested)))
    (tmp_path / "ind.far.test.index").write_text("1000000000" if part == "test.index" else "2")
    with pytest.raises(ValueError, match="ind.far"):
        read_graph(tmp_path / "ind.far.graph")
