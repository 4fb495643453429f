"""Commands in several processes, as far as one process can tell: what is refused, and what a restart reads."""
import socket

import pytest

from mprd_pyg import process_group
from pipelines import mprd
from pipelines.command_line import cli
from pipelines.command_line.launch import code_hash, options_hash


@pytest.fixture
def started_by_torchrun(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_a_command_of_one_process_refuses_to_be_started_twice(started_by_torchrun, capsys):
    assert cli.main(cli.make_parser("python -m pipelines.one", "one process"), pytest.fail, []) == 2
    assert capsys.readouterr().err.endswith("this command runs in one process, not 2: start it without torchrun\n")


def test_a_port_that_cannot_be_served_is_named(started_by_torchrun, tmp_path, capsys):
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        started_by_torchrun.setenv("MASTER_PORT", str(other.getsockname()[1]))
        assert cli.main(mprd.make_parser(), mprd.run, ["--accelerator", "cpu", "--out", str(tmp_path / "run")]) == 2
    line, = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "another program has the port" in line and not (tmp_path / "run").exists()
    assert process_group.speaks_first()


@pytest.mark.parametrize("served", [True, False])
def test_process_0_that_does_not_answer_is_waited_for_only_so_long(started_by_torchrun, tmp_path, capsys, served):
    """Nobody has its port, or another program, which takes connections and says nothing."""
    started_by_torchrun.setattr(process_group, "JOINING", 1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if served:
            other.listen()
        for name, value in {"RANK": "1", "MASTER_PORT": str(other.getsockname()[1])}.items():
            started_by_torchrun.setenv(name, value)
        assert cli.main(mprd.make_parser(), mprd.run, ["--accelerator", "cpu", "--out", str(tmp_path / "run")]) == 2
    line, = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "process 0 of 2 did not answer" in line and not (tmp_path / "run").exists()


def test_a_run_started_again_by_torchrun_goes_on(monkeypatch, tmp_path, capsys):
    parser = mprd.make_parser()
    saved = parser.parse_args(["--seed", "7", "--config", str(cli.shipped_config("mprd/synthetic.yaml"))])
    for key in ("config", "resume", "out"):
        saved.pop(key)
    (tmp_path / "config.yaml").write_text(parser.dump(saved, skip_unset=False))
    assert cli.parse(parser, ["--out", str(tmp_path)]).resume is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    again = cli.parse(parser, ["--out", str(tmp_path)])
    assert (again.resume, again.out, again.seed) == (str(tmp_path), str(tmp_path), 7)
    with pytest.raises(SystemExit):
        cli.parse(parser, [])
    assert "needs --out" in capsys.readouterr().err


def test_processes_must_share_code_and_options_but_not_where_they_write():
    parser = mprd.make_parser()
    one, other, apart = (parser.parse_args(args) for args in (
        [], ["--out", "x", "--devices", "2", "--progress", "false"], ["--seed", "1"]))
    assert options_hash(parser, one) == options_hash(parser, other) != options_hash(parser, apart)
    assert code_hash() == code_hash() and len(code_hash()) == 12
