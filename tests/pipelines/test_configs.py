"""Every shipped configuration loads, prints its resolved form, and fails well when the data are not there."""
import pytest

from pipelines import cluster_contrast, link_prediction, mprd, patch_mprd, paul, pretrain
from pipelines.command_line import cli

CONFIGS = sorted(str(path.relative_to(cli.shipped_config(""))) for path in cli.shipped_config("").rglob("*.yaml"))
PIPELINES = {"cluster_contrast": cluster_contrast, "link_prediction": link_prediction, "mprd": mprd,
             "patch_mprd": patch_mprd, "paul": paul, "pretrain": pretrain}


@pytest.mark.parametrize("config", CONFIGS)
def test_shipped_configurations(config, tmp_path, capsys):
    pipeline = PIPELINES[config.split("/")[0]]
    needed = ["--graph", "links.csv"] if pipeline is link_prediction else []
    with pytest.raises(SystemExit) as exit:
        cli.parse(pipeline.make_parser(), ["--config", config, *needed, "--print_config"])
    assert exit.value.code == 0
    resolved = capsys.readouterr().out
    assert "weight_decay" in resolved and "checkpoint_every" in resolved
    again = tmp_path / "again.yaml"
    again.write_text(resolved)
    one, two = (cli.parse(pipeline.make_parser(), ["--config", path, *needed]) for path in (config, str(again)))
    one.pop("config"), two.pop("config")
    assert one == two
    missing, data = tmp_path / "missing", "--graph" if pipeline is link_prediction else "--data.root"
    assert cli.main(pipeline.make_parser(), pipeline.run, ["--config", config, data, str(missing),
                                                           "--out", str(tmp_path / "out")]) == 2
    assert str(missing) in capsys.readouterr().err and not (tmp_path / "out").exists()
