"""Files that a command reads before it writes them anew: one made by hand is named in one line."""
from types import SimpleNamespace

import pytest

from pipelines import mprd, subgraphs
from pipelines.command_line import cli
from pipelines.experiments.plan import Plan


def test_the_record_and_the_list_of_pictures(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    assert tiny(out) == 0
    (out / "run.json").write_text("[1]")
    assert cli.main(mprd.make_parser(), mprd.run, ["--resume", str(out)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "run.json was cut short or edited" in said and "remove it" in said
    (out / "run.json").unlink()
    assert cli.main(mprd.make_parser(), mprd.run, ["--resume", str(out)]) == 0
    (out / "subgraphs" / "index.csv").write_text("x\n1\n")
    asked = [str(out), "--number", "1", "--pairs", "random", "--progress", "false"]
    assert cli.main(subgraphs.make_parser(), subgraphs.run, asked) == 2
    assert "index.csv was cut short or edited" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{}", '{"runs": 3}', '{"runs": {"a": 3}}', "x"])
def test_the_record_of_an_experiment(tmp_path, text):
    (tmp_path / "experiment.json").write_text(text)
    with pytest.raises(ValueError, match="experiment.json was cut short or edited"):
        Plan.record(SimpleNamespace(out=tmp_path), [])
