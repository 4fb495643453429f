"""YAML that somebody sent: bounded in size and depth, one line for whatever is wrong."""
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.bounded_yaml import MAX_DEPTH, MAX_VALUES, parse_yaml, read_yaml
from mprd_pyg.data import DataCard
from pipelines import mprd
from pipelines.command_line import cli
from pipelines.runs.run import Run

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True))
HOSTILE = {
    "aliases": BOMB.encode(), "deep": b"a: " + b"[" * 3000 + b"]" * 3000, "deep blocks": "".join(
        " " * i + "a:\n" for i in range(200)).encode(), "recursive": b"a: &a [*a]\n", "unknown alias": b"a: *b\n",
    "tag": b"a: !!python/object/apply:os.system ['touch executed']\n", "own tag": b"a: !x 1\n", "list": b"- a\n- b\n",
    "text": b"hello", "empty": b"", "number": b"3", "utf-16": "name: x\n".encode("utf-16"), "latin-1": b"a: \xe4\n",
    "control": b"a: \x00\x01\n", "date": b"a: 2024-13-45\n", "integer": b"a: !!int x\n", "tab": b"a:\n\tb: 1\n",
    "open": b"a: [1, 2\n", "key": b"? [a, b]\n: 1\n", "mapping key": b"{a: 1}: 2\n", "null key": b"null: 3\n",
    "large": b"a: " + b"x" * 5_000_000, "many": b"a: [" + b"1," * 250_000 + b"]", "documents": b"a: 1\n---\nb: 2\n",
    "binary": bytes(range(256)), "merge": b"a: &a {<<: *a}\n"}


@pytest.mark.parametrize("name", HOSTILE)
def test_every_reader_says_what_is_wrong_in_one_line(capsys, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    for path in (tmp_path / "x.yaml", run / "config.yaml"):
        path.write_bytes(HOSTILE[name])
    begun = time.process_time()
    for argv in (["--config", "x.yaml"], ["--config=x.yaml"], ["--resume", "run"], ["--data.card", "x.yaml",
                                                                                  "--data.root", str(tmp_path)]):
        try:
            status = cli.main(mprd.make_parser(), mprd.run, [*argv, *(["--out", "out"] if "run" not in argv else [])])
        except SystemExit as exit:
            status = exit.code
        error = capsys.readouterr().err
        assert status == 2 and error.count("\n") == 1 and len(error) < 2000, error
    with pytest.raises(ValueError, match="x.yaml") as caught:
        DataCard.load(str(tmp_path / "x.yaml"))
    assert "\n" not in str(caught.value)
    try:
        assert isinstance(Run(run).options, dict)
    except ValueError as error:
        assert "config.yaml" in str(error) and "\n" not in str(error)
    assert time.process_time() - begun < 20 and not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists()


def test_limits_count_what_aliases_repeat():
    rows = MAX_VALUES // 1000 - 1
    text = f"a: &a [{', '.join('x' * 998)}]\nb: [{', '.join(['*a'] * (rows - 1))}]\n"
    assert len(parse_yaml(text, "x")["b"]) == rows - 1
    with pytest.raises(ValueError, match="values"):
        parse_yaml(text.replace("b: [", "b: [*a, *a, "), "x")
    assert parse_yaml("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1), "x")
    with pytest.raises(ValueError, match="inside one another"):
        parse_yaml("a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH, "x")


plain = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                     lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=15)


@settings(max_examples=25)
@given(st.dictionaries(st.text(), plain, min_size=1))
def test_what_yaml_writes_is_read_as_it_reads_it(values):
    text = yaml.safe_dump(values)
    assert parse_yaml(text, "x") == yaml.safe_load(text)


def test_a_file_is_utf_8_with_or_without_its_mark(tmp_path):
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "x.yaml").write_bytes(mark + "größe: 3\n".encode())
        assert read_yaml(tmp_path / "x.yaml") == {"größe": 3}
