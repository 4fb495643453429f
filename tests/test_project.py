"""Lint, layers and shape: what keeps the project readable is a test."""
import ast
import graphlib
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("mprd_pyg", "paul", "pipelines")
FILES = {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8"))
         for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
METHODS = ("mprd_pyg/mprd", "mprd_pyg/pretraining", "mprd_pyg/link_prediction", "paul")


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_ruff_is_clean():
    result = run(sys.executable, "-m", "ruff", "check", ".")
    assert result.returncode == 0, result.stdout + result.stderr


def test_imports_point_one_way():
    beside = Path(sys.executable).with_name("lint-imports")
    result = run(str(beside) if beside.exists() else shutil.which("lint-imports"), "--no-cache")
    assert result.returncode == 0, result.stdout + result.stderr


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(tree: ast.Module) -> set[str]:
    """What a file imports anywhere, in functions too: modules, and names of modules that may be modules."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_no_modules_import_each_other_in_a_circle():
    modules = {module_name(path): imported_names(tree) for path, tree in FILES.items()}
    graph = {name: {target if target in modules else target.rpartition(".")[0] for target in imported} & set(modules)
             for name, imported in modules.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" -> ".join(reversed(error.args[1]))) from None


def test_every_package_says_what_it_is():
    for folder in {path.parent for path in FILES}:
        assert folder / "__init__.py" in FILES, f"{folder} has no __init__.py, and would not be installed"
        assert ast.get_docstring(FILES[folder / "__init__.py"]), f"{folder} has no docstring"


def test_a_file_of_the_libraries_has_a_name_of_its_own():
    """Two files of one name hold one idea twice, or one has the wrong name; every method has its ``algorithm``."""
    places = defaultdict(list)
    for path in FILES:
        if path.parts[0] != "pipelines" and path.name not in ("__init__.py", "algorithm.py"):
            places[path.name].append(str(path))
    assert not {name: paths for name, paths in places.items() if len(paths) > 1}


def arguments(cls: ast.ClassDef) -> int:
    """How many arguments a class's constructor takes."""
    for node in cls.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return len(node.args.args) + len(node.args.kwonlyargs) - 1
    dataclass = any("dataclass" in ast.unparse(decorator) for decorator in cls.decorator_list)
    return sum(isinstance(node, ast.AnnAssign) for node in cls.body) if dataclass else 0


def test_no_constructor_of_a_method_takes_more_than_twelve_arguments():
    many = {f"{path}: {cls.name}": count for path, tree in FILES.items() if path.as_posix().startswith(METHODS)
            for cls in ast.walk(tree) if isinstance(cls, ast.ClassDef) and (count := arguments(cls)) > 12}
    assert not many
