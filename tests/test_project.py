"""Lint and layers: what keeps the project readable is a test."""
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_ruff_is_clean():
    result = run(sys.executable, "-m", "ruff", "check", ".")
    assert result.returncode == 0, result.stdout + result.stderr


def test_imports_point_one_way():
    beside = Path(sys.executable).with_name("lint-imports")
    result = run(str(beside) if beside.exists() else shutil.which("lint-imports"), "--no-cache")
    assert result.returncode == 0, result.stdout + result.stderr


def test_files_are_short():
    long = {str(path.relative_to(ROOT)): count for folder in ("mprd_pyg", "paul", "pipelines")
            for path in (ROOT / folder).rglob("*.py") if (count := len(path.read_text().splitlines())) > 250}
    assert not long, f"over 250 lines means two ideas: {long}"
