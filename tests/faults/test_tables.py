"""Tables of a run folder: a changed one is refused, and one made by hand gets one line that names it."""
import json

import numpy as np
import pandas as pd
import pytest

from mprd_pyg.files import replacing
from pipelines.runs.run import Run
from pipelines.runs.run_folder import CHECKSUMS, RunFolder

IMAGES = pd.DataFrame({"path": [f"{i}.jpg" for i in range(30)], "person_id": range(30), "camera_id": [0, 1] * 15})
PAIRS = pd.DataFrame({"anchor": range(20), "neighbour": range(10, 30), "similarity": np.linspace(0, 1, 20),
                      "likelihood": np.linspace(0, 1, 20), "believed": [True, False] * 10})


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(str(tmp_path / "run"), "x")
    folder.write_text("config.yaml", "a: 1\n")
    folder.write_table("images.parquet", IMAGES)
    folder.write_table("pairs/epoch_001.parquet", PAIRS)
    return folder


def test_no_flipped_bit_is_read_as_other_content(folder):
    rng = np.random.default_rng(0)
    for name, read in (("images.parquet", lambda run: run.images),
                       ("pairs/epoch_001.parquet", lambda run: run.pairs())):
        path, wanted = folder.path / name, read(Run(folder.path))
        content = path.read_bytes()
        for place in rng.integers(0, len(content), 60):
            changed = bytearray(content)
            changed[place] ^= 1 << rng.integers(8)
            path.write_bytes(changed)
            with pytest.raises(ValueError, match=name) as caught:
                read(Run(folder.path))
            assert "\n" not in str(caught.value)
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=name):
            read(Run(folder.path))
        path.write_bytes(content)
        pd.testing.assert_frame_equal(read(Run(folder.path)), wanted)


def test_a_process_that_was_killed_between_table_and_checksum_leaves_a_readable_one(folder, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed
    later = PAIRS.assign(similarity=0.5)
    with monkeypatch.context() as context, pytest.raises(Killed):
        replace = __import__("os").replace
        context.setattr("os.replace", lambda a, b: killed() if str(b).endswith(".parquet") else replace(a, b))
        folder.write_table("pairs/epoch_001.parquet", later)
    assert Run(folder.path).judged(1).equals(PAIRS)
    folder.write_table("pairs/epoch_001.parquet", later)
    assert Run(folder.path).judged(1).equals(later)
    assert list(json.loads((folder.path / CHECKSUMS).read_text())) == ["images.parquet", "pairs/epoch_001.parquet"]


@pytest.mark.parametrize(("name", "table"), [
    ("images.parquet", IMAGES.drop(columns="path")), ("images.parquet", IMAGES.assign(path=1)),
    ("images.parquet", IMAGES.assign(camera_id="x")), ("images.parquet", IMAGES.assign(path=[None] * 30)),
    ("pairs/epoch_001.parquet", PAIRS.assign(anchor=30)), ("pairs/epoch_001.parquet", PAIRS.assign(neighbour=-1)),
    ("pairs/epoch_001.parquet", PAIRS.assign(anchor=0.5)), ("pairs/epoch_001.parquet", PAIRS[["anchor"]]),
    ("pairs/epoch_001.parquet", IMAGES)])
def test_tables_made_by_hand(folder, name, table):
    with replacing(folder.path / name) as part:
        table.to_parquet(part)
    with pytest.raises(ValueError, match="does not fit its checksum"):
        Run(folder.path).pairs()
    (folder.path / CHECKSUMS).unlink()
    with pytest.raises(ValueError, match=name) as caught:
        Run(folder.path).pairs()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "{", "3", '{"pairs/epoch_001.parquet": 3}', '{"pairs/epoch_001.parquet": {}}'])
def test_checksums_made_by_hand(folder, text):
    (folder.path / CHECKSUMS).write_text(text)
    with pytest.raises(ValueError, match="run") as caught:
        Run(folder.path).pairs()
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"{CHECKSUMS} was cut short or edited"):
        folder.write_table("pairs/epoch_001.parquet", PAIRS)
