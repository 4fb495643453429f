"""One process works in a run folder; a second one is told who does, and the lock dies with the process."""
import multiprocessing
import os
import signal
import socket
import subprocess
import sys

import pytest

from mprd_pyg.files import working_in
from pipelines.command_line import cli
from pipelines.runs.run_folder import RunFolder

FORK = multiprocessing.get_context("fork")


def work(folder, started):
    with working_in(folder):
        worker = FORK.Process(target=signal.pause, daemon=True)
        worker.start()
        started.put(worker.pid)
        signal.pause()


def test_the_second_is_told_who_works_there_until_that_process_is_killed(tmp_path):
    out, started = tmp_path / "out", FORK.Queue()
    process = FORK.Process(target=work, args=(out, started))
    process.start()
    worker = started.get(timeout=30)
    try:
        with pytest.raises(ValueError, match=f"in use by process {process.pid} on {socket.gethostname()} since 20"), \
                working_in(out):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        os.kill(worker, 0)  # its worker lives, and does not hold the lock
        with working_in(out):
            assert str(os.getpid()) in (out / ".running").read_text()
        assert not out.exists()
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_command_refuses_a_folder_in_use_and_frees_its_own(capsys, tmp_path):
    out, started = tmp_path / "out", FORK.Queue()

    def run(parser, cfg):
        RunFolder(cfg.out, "x").write_text("config.yaml", "")
    process = FORK.Process(target=work, args=(out, started))
    process.start()
    worker = started.get(timeout=30)
    try:
        assert cli.main(cli.make_parser("x", ""), run, ["--out", str(out)]) == 2
        assert f"process {process.pid}" in capsys.readouterr().err and os.listdir(out) == [".running"]
    finally:
        os.kill(worker, signal.SIGKILL)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert cli.main(cli.make_parser("x", ""), run, ["--out", str(out)]) == 0 and os.listdir(out) == ["config.yaml"]
    # another process may go on with it, and this one too
    code = "import sys; from mprd_pyg.files import working_in\nwith working_in(sys.argv[1]): pass"
    subprocess.run([sys.executable, "-c", code, str(out)], check=True)
    assert cli.main(cli.make_parser("x", ""), run, ["--out", str(out)]) == 2  # already holds a run
    assert "--resume" in capsys.readouterr().err and os.listdir(out) == ["config.yaml"]


def test_nothing_is_written_through_links_of_a_folder_somebody_sent(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in (".running", "config.yaml", "config.yaml.part"):
        out = tmp_path / f"out {name}"
        out.mkdir()
        (out / name).symlink_to(precious)
        try:
            with working_in(out):
                RunFolder(str(out), "x", resume=True).write_text("config.yaml", "mine")
        except OSError:
            assert name == ".running"
        assert precious.read_text() == "precious"
