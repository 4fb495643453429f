"""Reading the files of a run folder: whatever is lacking or damaged is an error that names the file and the remedy."""
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from mprd_pyg.bounded_yaml import read_yaml
from mprd_pyg.manifest import checksum_of
from mprd_pyg.parquet import read_parquet
from pipelines.runs.run_folder import CHECKSUMS

T = TypeVar("T")


class RunFiles:
    """The files of a run folder.

    Its methods raise FileNotFoundError for a file that the folder lacks, and ValueError for one that is damaged.

    Args:
        folder: run folder.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def has(self, name: str) -> bool:
        """Whether the folder has a file."""
        return (self.folder / name).is_file()

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.has("results.json")

    def existing(self, name: str) -> Path:
        """The path of a file that is there."""
        if not self.has(name):
            remedy = f"make the run again, or its file by pipelines.evaluate --checkpoint {self.folder}" \
                if self.finished else f"the run is not finished, go on with it by --resume {self.folder}"
            raise FileNotFoundError(f"{self.folder} has no {name}: {remedy}")
        return self.folder / name

    def read(self, name: str, reader: Callable[[Path], T]) -> T:
        """What a reader makes of a file."""
        path = self.existing(name)
        try:
            return reader(path)
        except Exception as error:  # whatever a reader makes of a damaged file
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(f"{path} cannot be read, restore it or make the run again ({reason[:400]})") from error

    def text(self, name: str) -> str:
        """A text file."""
        return self.read(name, lambda path: path.read_text(encoding="utf-8"))

    def mapping(self, name: str) -> dict[str, Any]:
        """A JSON or YAML file of names with values; empty where there is none."""
        def reader(path: Path) -> dict[str, Any]:
            value = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else read_yaml(path)
            if not isinstance(value, dict):
                raise ValueError("expected names with values")
            return value
        return self.read(name, reader) if self.has(name) else {}

    def epoch_log(self, name: str) -> pd.DataFrame:
        """A CSV file with one line per epoch; no lines where there is none yet."""
        begun = self.has(name) and (self.folder / name).stat().st_size > 1
        return self.read(name, pd.read_csv) if begun else pd.DataFrame({"epoch": []})

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """A Parquet file, or some of its columns; one that was changed is refused."""
        def reader(path: Path) -> pd.DataFrame:
            kept = self.mapping(CHECKSUMS).get(name)
            if kept is not None and checksum_of(path) not in kept:
                raise ValueError("its content does not fit its checksum")
            return read_parquet(path, columns)
        return self.read(name, reader)

    def checked(self, name: str, table: pd.DataFrame, whole: list[str], text: Sequence[str] = (),
                rows: int | None = None) -> pd.DataFrame:
        """A table that was read from a file, if it has these columns of whole numbers (below ``rows``) and of text."""
        lacking = [column for column in (*whole, *text) if column not in table]
        wrong = [column for column in whole if column in table and not pd.api.types.is_integer_dtype(table[column])]
        wrong += [column for column in text if column in table and
                  not all(isinstance(value, str) for value in table[column])]
        if rows is not None and not lacking + wrong:
            wrong = [column for column in whole if not table[column].between(0, rows - 1).all()]
        if lacking or wrong:
            raise ValueError(f"{self.folder / name} lacks the columns {lacking}, or holds something else in {wrong}: "
                             f"restore it or make the run again")
        return table
