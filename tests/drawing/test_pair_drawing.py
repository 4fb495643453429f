"""Pictures of pair subgraphs: the layout by its rules, the drawing by what lies on the canvas."""
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from matplotlib.patches import PathPatch
from PIL import Image
from torch_geometric.data import Data

from mprd_pyg.drawing import draw_pair
from mprd_pyg.drawing.pair_layout import lay_out, share, sides
from mprd_pyg.drawing.pair_marks import FIRST, OTHER, SECOND, UNKNOWN
from mprd_pyg.graph import PairSubgraphs


def overlaps(layout):
    """Pairs of tiles that share an area, and tiles outside the picture."""
    shown = np.flatnonzero(~np.isnan(layout.centre[:, 0]))
    boxes = [(*layout.centre[i], *layout.size[i]) for i in shown] + [(x, y, 0.94, 0.84) for x, y, _ in layout.more]
    bad = [(a, b) for a, b in itertools.combinations(boxes, 2)
           if abs(a[0] - b[0]) < (a[2] + b[2]) / 2 - 1e-9 and abs(a[1] - b[1]) < (a[3] + b[3]) / 2 - 1e-9]
    outside = [b for b in boxes if b[0] < b[2] / 2 or b[1] < b[3] / 2 or b[0] > layout.extent[0] - b[2] / 2
               or b[1] > layout.extent[1] - b[3] / 2]
    return bad + outside


def side_of(left, middle, right):
    return np.array([-2, 2] + [-1] * left + [0] * middle + [1] * right)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.75, 1.0, 2.0, 2.7, 3.0]))
@settings(deadline=None, max_examples=200)
def test_nothing_overlaps_and_nobody_is_lost(left, middle, right, aspect):
    side = side_of(left, middle, right)
    weight = np.random.default_rng(0).random(len(side))
    layout = lay_out(side, weight, aspect=aspect)
    assert not overlaps(layout)
    shown = ~np.isnan(layout.centre[:, 0])
    assert shown.sum() == min(len(side), 40) and shown[:2].all()
    assert shown.sum() + sum(count for *_, count in layout.more) == len(side)
    for which in (-1, 0, 1):  # the heaviest of each group stay
        group = side == which
        assert weight[group & shown].min(initial=2) >= weight[group & ~shown].max(initial=-1)
    x = layout.centre[:, 0]
    first, second = x[0], x[1]
    assert (x[(side == -1) & shown] < first).all() and (x[(side == 1) & shown] > second).all()
    assert ((x[(side == 0) & shown] > first) & (x[(side == 0) & shown] < second)).all()


def test_places_are_shared_by_hand():
    assert share([3, 30, 2], 20) == [3, 15, 2] and share([1, 1, 1], 38) == [1, 1, 1]
    assert share([9, 9, 9], 4) == [2, 1, 1]
    with pytest.raises(ValueError, match="at least 5"):
        lay_out(side_of(1, 1, 1), np.ones(5), most=3)


def test_sides_are_distances_without_the_other_root():
    #  2 - 0   1 - 4,  3 hangs on both, 5 behind 2, 6 between 5 and 4, 7 alone
    edges = np.array([[0, 2], [0, 3], [1, 3], [1, 4], [2, 5], [5, 6], [6, 4]]).T
    both = np.concatenate([edges, edges[::-1]], 1)
    assert sides(both, (0, 1), 8).tolist() == [-2, 2, -1, 0, 1, -1, 1, 0]


@pytest.fixture
def graph(tmp_path):
    """Rows 0 and 1 with neighbours 2, 3, 4 and 3, 4, 5; image files of one colour each."""
    edges = torch.tensor([[2, 3, 4, 3, 4, 5], [0, 0, 0, 1, 1, 1]])
    data = PairSubgraphs()(Data(edge_index=edges, num_nodes=6), [[0, 1]])[0]
    data.x = torch.eye(6)[data.n_id] + 0.3
    data.person_id, data.camera_id = torch.tensor([7, 8, 7, 8, 9, -1]), torch.tensor([1, 2, 1, 2, 1, 2])
    data.path = [str(tmp_path / f"{i}.png") for i in range(6)]
    for i, path in enumerate(data.path):
        Image.new("RGB", (24, 48), (40 * i, 255 - 40 * i, 128)).save(path)
    data.update({"y": torch.tensor([0]), "likelihood": torch.tensor([0.93]), "believed": torch.tensor([True]),
                 "similarity": torch.tensor([0.61]), "epoch": torch.tensor([4])})
    return data


def texts(picture):
    return [text.get_text() for text in picture.axes[0].texts]


def test_a_picture_shows_images_labels_identities_and_verdict(graph):
    picture = draw_pair(graph)
    axes = picture.axes[0]
    words = "\n".join(texts(picture))
    for expected in ("likelihood 0.93, believed", "different people \N{BALLOT X}", "similarity 0.61", "epoch 4",
                     "2 shared neighbours", "0 c1", "5 c2", "DRNL label", "the left person", "unknown person"):
        assert expected in words, expected
    thumbnails = [image for image in axes.images if image.get_zorder() > 3]
    colours = {tuple(image.get_array()[0, 0]) for image in thumbnails}
    assert colours == {(40 * i, 255 - 40 * i, 128) for i in range(6)}
    badges = [text.get_text() for text in axes.texts if text.get_zorder() == 3.6]
    assert sorted(badges) == sorted(str(z) for z in graph.z.tolist())
    frames = [patch.get_facecolor() for patch in axes.patches if patch.get_zorder() == 3]
    assert sorted(frames) == sorted(map(to_rgba, [FIRST, SECOND, FIRST, SECOND, OTHER, UNKNOWN]))
    edges = [patch for patch in axes.patches if isinstance(patch, PathPatch)]
    assert len(edges) == 6  # each once
    graph.y, graph.epoch = torch.tensor([1]), torch.tensor([0])
    assert "the same person \N{CHECK MARK}" in "\n".join(texts(draw_pair(graph)))
    graph.y = torch.tensor([-1])
    assert "truth unknown" in "\n".join(texts(draw_pair(graph)))
    assert "my title" in texts(draw_pair(graph, title="my title"))


def test_statistics_are_listed_beside_the_picture(graph):
    plain, listed = draw_pair(graph), draw_pair(graph, statistics={"rank_best": 3.0, "jaccard": 0.12345})
    assert set(texts(listed)) - set(texts(plain)) == {"rank best", "3", "jaccard", "0.123"}
    right = plain.axes[0].get_xlim()[1]
    assert listed.axes[0].get_xlim()[1] > right and listed.get_figwidth() > plain.get_figwidth()
    assert all(text.get_position()[0] >= right for text in listed.axes[0].texts
               if text.get_text() not in texts(plain))
    assert texts(draw_pair(graph, statistics=pd.Series({"jaccard": 0.5})))[-1] == "0.5"


def test_edges_are_darker_and_wider_the_more_similar(graph):
    graph.edge_attr = torch.zeros(graph.num_edges)
    strong = (graph.edge_index == 3).any(0)
    graph.edge_attr[strong] = 1.0
    edges = [patch for patch in draw_pair(graph).axes[0].patches if isinstance(patch, PathPatch)]
    widths = sorted(patch.get_linewidth() for patch in edges)
    assert widths[-1] == widths[-2] > 2 * widths[0] and widths[3] == widths[0]
    dark = {patch.get_linewidth(): sum(patch.get_edgecolor()[:3]) for patch in edges}
    assert dark[widths[-1]] < dark[widths[0]]


def test_png_svg_and_notebook_are_the_same_each_time(graph, tmp_path):
    for suffix in ("png", "svg"):
        for name in ("a", "b"):
            draw_pair(graph).save(tmp_path / f"{name}.{suffix}")
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert Image.open(tmp_path / "a.png").width > 1000 and "DRNL label" in (tmp_path / "a.svg").read_text()
    assert draw_pair(graph)._repr_png_().startswith(b"\x89PNG")


def test_graphs_without_images_features_or_table_are_drawn(graph):
    bare = PairSubgraphs()(Data(edge_index=torch.tensor([[2], [0]]), num_nodes=3), [[0, 1]])[0]
    picture = draw_pair(bare)
    bare.y = torch.tensor([1])
    assert "a link" in texts(draw_pair(bare)) and not any("person" in text for text in texts(draw_pair(bare)))
    assert "no shared\nneighbours" in texts(picture) and not [i for i in picture.axes[0].images if i.get_zorder() > 3]
    seen = []
    draw_pair(graph, image=lambda node: seen.append(node) or Image.new("L", (30, 30)))
    assert set(seen) == {0, 1, 2, 3, 4, 5}


def test_many_nodes_are_summarised():
    hub = torch.arange(2, 90)
    edges = torch.stack([hub, torch.zeros_like(hub)])
    data = PairSubgraphs(edges="induced")(Data(edge_index=torch.cat([edges, torch.tensor([[3, 4], [1, 3]])], 1),
                                               num_nodes=90), [[0, 1]])[0]
    assert "+50\nmore" in texts(draw_pair(data))  # 90 less 40
    assert "+75\nmore" in texts(draw_pair(data, most=15))


def test_a_missing_image_is_named(graph, tmp_path):
    (tmp_path / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"3\.png"):
        draw_pair(graph)
