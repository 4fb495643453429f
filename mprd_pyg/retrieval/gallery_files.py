"""A search index on disk: FAISS file, Parquet table and a manifest that names both; the manifest is replaced last."""
import re
from pathlib import Path
from typing import Any

import faiss
import pandas as pd

from mprd_pyg.files import locked, replacing
from mprd_pyg.manifest import FileEntry, Manifest, refusing_damage
from mprd_pyg.parquet import read_parquet
from mprd_pyg.retrieval.gallery_index import check_index_type
from mprd_pyg.retrieval.gallery_scan import COLUMNS

MANIFEST, KIND = "gallery.json", "mprd-pyg gallery index, version 2"
OWN = re.compile(r"(index-\d+\.faiss|images-\d+\.parquet|gallery\.json)(\.part)?")


def save_gallery(folder: Path, index: faiss.Index, table: pd.DataFrame, about: dict[str, Any]) -> None:
    """Write a new pair of files, then the manifest that names them, then remove the pair before.

    An interruption at any moment leaves the old pair or the new one; of two processes, one waits for the other.

    Args:
        folder: made if missing.
        index: of the features.
        table: columns path, bytes and mtime_ns; row = place in the index.
        about: plain values ``network``, ``root``, ``index_type`` (strings) and ``skipped`` (what is no image).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        number = 1 + max((int(re.search(r"\d+", name)[0]) for name in _own_files(folder) if "-" in name), default=0)
        paths = folder / f"index-{number:06d}.faiss", folder / f"images-{number:06d}.parquet"
        with replacing(paths[0]) as part, open(part, "wb") as file:
            # By Python's file: where FAISS's own is closed on a full disk, it only prints that the rest is not there.
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write, 1 << 20))
        with replacing(paths[1]) as part:
            table.to_parquet(part, index=False)
        Manifest(KIND, tuple(map(FileEntry.of, paths)), about).write(folder / MANIFEST)
        for name in _own_files(folder) - {MANIFEST, *(path.name for path in paths)}:
            (folder / name).unlink(missing_ok=True)


def load_gallery(folder: Path) -> tuple[faiss.Index, pd.DataFrame, dict[str, Any]]:
    """Read an index after comparing its files' checksums.

    FAISS trusts what it reads, and whoever edits a file by hand can edit its checksum: open only indexes that you or
    someone you trust has made.

    Raises:
        ValueError: a file that is missing, cut short or edited; the message names it and says what to do.
    """
    remedy = f"remove {folder} and make the index again"
    with locked(folder):
        manifest = Manifest.read(folder / MANIFEST, KIND, remedy)
        manifest.check_files(folder, remedy)
        with refusing_damage(folder / MANIFEST, remedy):
            index_file, table_file = (folder / entry.name for entry in manifest.files)
            about = manifest.about
            check_index_type(about["index_type"])
            if not (isinstance(about["network"], str) and isinstance(about["root"], str)
                    and all(isinstance(entry["path"] + entry["reason"], str) for entry in about["skipped"])):
                raise ValueError("network, root and skipped are not those of an index")
            table = read_parquet(table_file, COLUMNS)
            index = faiss.read_index(str(index_file))
            if index.ntotal != len(table):
                raise ValueError(f"{index.ntotal} features and {len(table)} paths do not fit")
    return index, table, about


def foreign_files(folder: Path) -> list[str]:
    """Names in a folder that no index writes; an interrupted first save leaves only its own."""
    return sorted({path.name for path in folder.iterdir()} - _own_files(folder)) if folder.is_dir() else []


def _own_files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if OWN.fullmatch(path.name)}
