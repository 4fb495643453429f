"""A file names classes of this project only: nothing else is imported, which would run it."""
import functools
import sys

import pytest
import yaml

from pipelines import link_prediction, mprd, paul
from pipelines.command_line import cli

MODULE = """
from pathlib import Path
from mprd_pyg.relations import KNearest
Path("executed").write_text("")
class Mine(KNearest):
    pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, from which a module could be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "hostile_package").mkdir()
    (tmp_path / "hostile_package" / "__init__.py").write_text(MODULE)
    (tmp_path / "hostile.py").write_text(MODULE)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("hostile")]:
        del sys.modules[name]


@functools.cache
def parser_of(pipeline):
    return pipeline.make_parser()


def refused(capsys, pipeline, *argv):
    with pytest.raises(SystemExit) as exit:
        cli.parse(parser_of(pipeline), [*argv])
    message = capsys.readouterr().err
    assert exit.value.code == 2 and message.count("\n") == 1
    return message


HOSTILE = ["hostile.Mine", "hostile_package.Mine", "hostile_package.nothing.Mine", "os.system", "subprocess.Popen",
           "mprd_pyg.files.os.system", "mprd_pyg.files.hostile.Mine", "builtins.eval", "numpy.f2py.compile",
           "hostile.sub.Mine"]


@pytest.mark.parametrize(("pipeline", "key", "paths"), [
    (mprd, "relation", HOSTILE), (mprd, "loss", HOSTILE[:1]), (paul, "network", HOSTILE[:1])])
def test_a_file_cannot_import(capsys, folder, pipeline, key, paths):
    (folder / "run").mkdir()
    for path in paths:
        for spec in ({"class_path": path}, {"class_path": path, "init_args": {"k": 3}}, path):
            for name in ("given.yaml", "run/config.yaml"):
                (folder / name).write_text(yaml.safe_dump({key: spec}))
            refused(capsys, pipeline, "--config", "given.yaml")
            refused(capsys, pipeline, "--resume", "run")
        for option in (key, f"{key}.class_path", f"{key}.help"):
            refused(capsys, pipeline, f"--{option}", path)
    assert not (folder / "executed").exists() and not any(name.startswith("hostile") for name in sys.modules)


def test_nor_by_another_file_or_by_the_option_in_a_file(capsys, folder):
    (folder / "relation.yaml").write_text("class_path: hostile.Mine\n")
    (folder / "given.yaml").write_text("relation: relation.yaml\n")
    refused(capsys, mprd, "--config", "given.yaml")
    refused(capsys, mprd, "--relation", "relation.yaml")
    (folder / "given.yaml").write_text("allow_import: hostile\nrelation: {class_path: hostile.Mine}\n")
    refused(capsys, mprd, "--config", "given.yaml")
    (folder / "given.yaml").write_text("graph: hostile.Mine\nsplit: {class_path: hostile.Mine}\n")
    refused(capsys, link_prediction, "--config", "given.yaml")
    assert not (folder / "executed").exists() and not any(name.startswith("hostile") for name in sys.modules)


def test_our_own_are_read_and_others_where_the_command_line_allows_them(capsys, folder):
    for path in ("KReciprocalJaccard", "mprd_pyg.relations.KReciprocalJaccard"):
        (folder / "given.yaml").write_text(f"relation: {{class_path: {path}}}\n")
        assert "KReciprocalJaccard" in cli.parse(mprd.make_parser(), ["--config", "given.yaml"]).relation.class_path
    (folder / "given.yaml").write_text("relation: {class_path: hostile_allowed.Mine}\n")
    (folder / "hostile_allowed.py").write_text(MODULE)
    assert "--allow_import hostile_allowed" in refused(capsys, mprd, "--config", "given.yaml")
    for option in (["--allow_import", "hostile_allowed"], ["--allow_import=hostile_allowed"]):
        cfg = cli.parse(mprd.make_parser(), [*option, "--config", "given.yaml"])
        assert cfg.relation.class_path == "hostile_allowed.Mine" and "allow_import" not in cfg
    assert (folder / "executed").exists()
    assert "got 'a b'" in refused(capsys, mprd, "--allow_import", "a b")
    assert "got ''" in refused(capsys, mprd, "--allow_import")
