"""One small run on generated people, for the tests of the explorer."""
import shutil

import pytest

from pipelines import mprd
from pipelines.command_line import cli


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("explored") / "run"
    assert cli.main(mprd.make_parser(), mprd.run, [
        "--config", "mprd/tiny.yaml", "--method.epochs", "2", "--out", str(out), "--progress", "false"]) == 0
    return out


@pytest.fixture
def small_run(finished_run, tmp_path):
    """A copy of its folder, to be written to."""
    return shutil.copytree(finished_run, tmp_path / "run")
