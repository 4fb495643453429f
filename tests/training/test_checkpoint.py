"""A checkpoint that was changed is refused, and one made by hand gets one clear line."""
import zipfile
import zlib

import numpy as np
import pytest
import torch

from mprd_pyg.training import load_checkpoint, save_checkpoint
from mprd_pyg.training.checkpoint import checksum, load_parts, load_weights
from pipelines.runs.networks import load_network


def state():
    net = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7))
    return {"method": {"network": net.state_dict(), "memory": {"bank": torch.randn(1, 40, 300)}},
            "position": {"epoch": 2, "phase": 0, "step": 0, "total": 9}, "sums": {"a": 1.5, "a#": 3}, "before": {},
            "history": [{"epoch": 1, "loss": float("nan")}], "describe": {"data": "x", "text": "ä"},
            "random": {"cpu": torch.get_rng_state(), "cuda": []}}


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and one.numpy().tobytes() == \
            other.numpy().tobytes()
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or one != one and other != other


def test_it_is_read_as_it_was_written_by_torch_alone_too(tmp_path):
    path, wanted = tmp_path / "last.pt", state()
    save_checkpoint(path, wanted)
    assert same(dict(load_checkpoint(path)), wanted)
    plain = torch.load(path, weights_only=True)
    assert same({k: plain[k] for k in wanted}, wanted) and plain["checksum"] == checksum(wanted)


def test_no_flipped_bit_is_read_as_other_content(tmp_path):
    path, damaged, wanted = tmp_path / "last.pt", tmp_path / "damaged.pt", state()
    save_checkpoint(path, wanted)
    content, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    with zipfile.ZipFile(path) as container:  # every bit of a weight and of the structure, and 300 others
        starts = [entry.header_offset for entry in container.infolist()]
    places = [*(rng.choice(starts, 60) + rng.integers(0, 60, 60)), *rng.integers(0, len(content), 300)]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        damaged.write_bytes(changed)
        try:
            assert same(dict(load_checkpoint(damaged)), wanted)  # a bit that carries nothing, such as padding
        except ValueError as error:
            assert "damaged.pt" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 200


def test_the_checksum_is_of_all_bits_and_of_their_order():
    big = torch.arange(50_000, dtype=torch.int64)
    words = big.numpy().reshape(-1)[: 48 * 1024].reshape(-1, 1024).sum(1)
    wanted = zlib.crc32(big.numpy().tobytes()[48 * 1024 * 8:], zlib.crc32(words.tobytes()))
    assert checksum({"x": [big]}) == wanted
    assert checksum(big.flip(0)) != wanted
    for dtype in (torch.bfloat16, torch.bool, torch.float64, torch.uint8):
        x = torch.randn(3, 33_333).to(dtype)
        assert checksum(x) == checksum(x.clone()) == checksum(x.T.contiguous().T)
        bits = x.clone().view(torch.uint8)
        bits[-1, -1] ^= 1
        assert checksum(bits) != checksum(x)
    assert checksum(torch.tensor(1.0)) != checksum(torch.tensor(2.0))


HUGE = torch.zeros(1).expand(10**12)
BY_HAND = [("position", 3), ("position", {"epoch": 1}), ("position", {"epoch": -1, "phase": 0, "step": 0, "total": 0}),
           ("position", {"epoch": 1.5, "phase": 0, "step": 0, "total": 0}), ("method", []), ("method", {"network": 3}),
           ("sums", {"a": "b"}), ("sums", None), ("sums", {"a": 1.0}),
           ("sums", {"a": 1.0, "a#": 0}), ("history", {}), ("history", [1]), ("history", [{"a": torch.ones(1)}]),
           ("before", [1]), ("random", {"cpu": torch.ones(3), "cuda": []}), ("random", {}), ("random", 3),
           ("random", {"cpu": torch.get_rng_state(), "cuda": 5}), ("history", [{1: 2.0}]), ("models", {"boosted": 3}),
           ("random", {"cpu": torch.full_like(torch.get_rng_state(), 7), "cuda": []}), ("describe", "x"),
           ("method", {"network": {"w": HUGE}}), ("method", {"network": {"w": torch.eye(3).to_sparse()}})]


@pytest.mark.parametrize(("name", "value"), BY_HAND)
def test_one_made_by_hand_is_refused(tmp_path, name, value):
    path = tmp_path / "hand.pt"
    try:
        kept = checksum(state() | {name: value})
    except ValueError:
        kept = 0
    torch.save({"format": 2, "checksum": kept, **state(), name: value}, path)
    with pytest.raises(ValueError, match="hand.pt") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_what_it_lacks_is_named(tmp_path):
    save_checkpoint(tmp_path / "last.pt", {"method": {}})
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert loaded.get("position") is None and "position" not in loaded
    with pytest.raises(ValueError, match=r"last\.pt lacks 'position'"):
        loaded["position"]


@pytest.mark.parametrize("describe", [
    {}, {"network": 3, "size": [4, 4]}, {"network": {"class_path": "paul.PatchNet"}, "size": [4, 4]},
    {"network": {"class_path": "paul.PatchNet", "init_args": {}}, "size": 4},
    {"network": {"class_path": "paul.PatchNet", "init_args": {}}, "size": [4, -4]},
    {"network": {"class_path": ["x"], "init_args": {}}, "size": [4, 4]},
    {"network": {"class_path": "paul.PatchNet", "init_args": []}, "size": [4, 4]},
    {"network": {"class_path": "paul.PatchNet", "init_args": {"arch": []}}, "size": [4, 4]},
    {"network": {"class_path": "mprd_pyg.models.ImageEmbedder", "init_args": {"arch": "resnet18"}}, "size": [4, 4]}])
def test_a_network_described_by_hand_is_refused(tmp_path, describe):
    save_checkpoint(tmp_path / "last.pt", {"describe": describe, "method": {"network": {"w": torch.ones(1)}}})
    with pytest.raises(ValueError, match=r"last\.pt") as caught:
        load_network(tmp_path / "last.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("change", "said"), [
    ({"weight": torch.full((2, 2), float("nan"))}, "NaN"), ({"weight": torch.ones(2, 2, dtype=torch.int64)}, "int64"),
    ({"weight": torch.ones(2, 2, dtype=torch.complex64)}, "complex64"), ({"weight": [1, 2]}, "no weights")])
def test_weights_that_would_be_converted_silently_are_refused(change, said):
    net = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=said):
        load_weights(net, net.state_dict() | change, "x.pt")


def test_the_state_of_an_optimizer_must_fit():
    net = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    good = optimizer.state_dict()
    load_parts({"optimizer": optimizer}, {"optimizer": good}, "x.pt")
    bad = [{}, good | {"state": {0: {"momentum_buffer": torch.ones(7)}}}, good | {"state": {9: {"m": torch.ones(7)}}},
           good | {"state": 3}, good | {"param_groups": []}, good | {"param_groups": [3]}]
    for state in bad:
        with pytest.raises(ValueError, match="x.pt, optimizer, was not loaded"):
            load_parts({"optimizer": optimizer}, {"optimizer": state}, "x.pt")
