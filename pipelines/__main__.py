"""All commands under one name: ``mprd-pyg COMMAND …`` is ``python -m pipelines.COMMAND …``.

mprd-pyg                                    # what there is
mprd-pyg mprd --config mprd/market1501.yaml --data.root DIR
mprd-pyg completion bash > ~/.local/share/bash-completion/completions/mprd-pyg
"""
import argparse
import ast
import difflib
import importlib
import runpy
import sys
from pathlib import Path

SHELLS = ("bash", "zsh", "tcsh")


def commands() -> dict[str, str]:
    """Each command and what it does, read from the files' first lines without importing them."""
    here = Path(__file__).parent
    files = {path.stem: path for path in here.glob("*.py") if not path.stem.startswith("_")}
    files |= {path.parent.name: path for path in here.glob("*/__main__.py")}
    return {name: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).splitlines()[0]
            for name, path in sorted(files.items())}


def completion(shell: str) -> str:
    """A script that completes commands, options and choices in a shell."""
    try:
        import shtab
    except ImportError as error:
        raise SystemExit("completion needs shtab, which is not installed: pip install 'mprd-pyg[completion]'"
                         ) from error
    parser = argparse.ArgumentParser("mprd-pyg")
    known = parser.add_subparsers()
    for name, what in commands().items():
        known.add_parser(name, help=what)
        module = f"pipelines.{name}.__main__" if (Path(__file__).parent / name).is_dir() else f"pipelines.{name}"
        known.choices[name] = importlib.import_module(module).make_parser()
    return shtab.complete(parser, shell)


def main() -> None:
    """List the commands, complete them, or run one."""
    known, (name, *rest) = commands(), sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        width = max(map(len, known))
        print("usage: mprd-pyg COMMAND [--help | options]\n\n" + "\n".join(
            f"  {command:<{width}}  {what}" for command, what in known.items()))
        print(f"  {'completion':<{width}}  Print a script that completes all this in {', '.join(SHELLS)}.")
    elif name == "completion" and len(rest) == 1 and rest[0] in SHELLS:
        print(completion(rest[0]))
    elif name == "completion":
        raise SystemExit(f"mprd-pyg: error: completion takes one of {', '.join(SHELLS)}")
    elif name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise SystemExit(f"mprd-pyg: error: no command {name}" + (f"; did you mean {near[0]}?" if near else "")
                         + f" There are: {', '.join(known)}")
    else:
        sys.argv = [f"pipelines.{name}", *rest]
        runpy.run_module(f"pipelines.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
