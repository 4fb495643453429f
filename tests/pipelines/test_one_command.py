"""All commands under one name."""
import subprocess
import sys
from pathlib import Path

import pytest

import pipelines
from pipelines.__main__ import commands, completion


def call(*argv):
    return subprocess.run([sys.executable, "-m", "pipelines", *argv], capture_output=True, text=True, check=False,
                          cwd=Path(pipelines.__file__).parent.parent)


def test_every_command_is_listed_and_run():
    here = Path(pipelines.__file__).parent
    wanted = {path.stem for path in here.glob("[a-z]*.py")} | {path.parent.name for path in here.glob("*/__main__.py")}
    listed = call().stdout
    assert set(commands()) == wanted and all(f"  {name} " in listed for name in wanted)
    assert call("compare", "--help").stdout.startswith("usage: python -m pipelines.compare")
    run = call("compare", "nowhere")  # its status and its message pass through
    assert run.returncode == 2 and "nowhere" in run.stderr and "Traceback" not in run.stderr


def test_a_command_that_is_none_names_the_nearest():
    run = call("mprrd")
    assert run.returncode == 1 and "no command mprrd; did you mean mprd?" in run.stderr
    assert "one of bash, zsh" in call("completion", "fish").stderr


def test_completion_knows_the_options_of_every_command():
    pytest.importorskip("shtab")
    script = completion("bash")
    assert all(name in script for name in commands())
    assert "--learner.batch_size" in script and "complete -o" in script
