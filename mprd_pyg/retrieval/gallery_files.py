"""A search index on disk: FAISS file, Parquet table and a record that names both; the record is replaced last."""
import json
import os
import re
import struct
from pathlib import Path
from typing import Any

import faiss
import pandas as pd

from mprd_pyg.retrieval.gallery_index import INDEX_TYPES
from mprd_pyg.retrieval.gallery_scan import COLUMNS

FORMAT, RECORD = 1, "gallery.json"
CODES = {"Flat": ("IxFI", 4), "SQfp16": ("IxSQ", 2), "HNSW": ("IHNf", 4), "HNSW_SQfp16": ("IHNs", 2)}


def save_gallery(folder: Path, index: faiss.Index, table: pd.DataFrame, record: dict[str, Any]) -> None:
    """Write a new pair of files, then the record that names them, then remove the pair before.

    An interruption at any moment leaves the old pair or the new one.

    Args:
        folder: made if missing.
        index: of the features.
        table: columns path, bytes and mtime_ns; row = place in the index.
        record: plain values to keep beside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(path.stem.split("-")[1]) for path in _pairs(folder)), default=0)
    names = {"index": f"index-{number:06d}.faiss", "table": f"images-{number:06d}.parquet"}
    faiss.write_index(index, str(folder / names["index"]))
    table.to_parquet(folder / names["table"], index=False)
    files = {what: {"name": name, "bytes": (folder / name).stat().st_size} for what, name in names.items()}
    part = folder / (RECORD + ".part")
    part.write_text(json.dumps({"format": FORMAT, **record, "files": files}, indent=1) + "\n", encoding="utf-8")
    os.replace(part, folder / RECORD)
    for path in _pairs(folder):
        if path.name not in names.values():
            path.unlink(missing_ok=True)


def load_gallery(folder: Path) -> tuple[faiss.Index, pd.DataFrame, dict[str, Any]]:
    """Read an index after checking its files' sizes and the FAISS header against the record.

    FAISS trusts what it reads: sizes are checked here before, and the graph inside an HNSW file cannot be. Open
    only indexes that you or someone you trust has made.

    Raises:
        ValueError: a file that is missing, cut short or does not fit; the message names it and says what to do.
    """
    record = _read_record(folder / RECORD)
    remedy = f"remove {folder} and make the index again"
    paths = {}
    for what, entry in record["files"].items():
        path = paths[what] = folder / entry["name"]
        size = path.stat().st_size if path.is_file() else None
        if size != entry["bytes"]:
            found = "does not exist" if size is None else f"has {size} bytes"
            raise ValueError(f"{path} {found}; {entry['bytes']} bytes were written: {remedy}")
    _check_header(paths["index"], record, remedy)
    try:
        table = pd.read_parquet(paths["table"], columns=COLUMNS)
        index = faiss.read_index(str(paths["index"]))
    except Exception as error:
        raise ValueError(f"{folder} holds no readable search index ({error}): {remedy}") from error
    if not index.ntotal == len(table) == record["count"]:
        raise ValueError(f"{folder}: {index.ntotal} features, {len(table)} paths and a recorded count of "
                         f"{record['count']} do not fit: {remedy}")
    return index, table, record


def foreign_files(folder: Path) -> list[str]:
    """Names in a folder that no index writes; an interrupted first save leaves only its own."""
    own = {RECORD, RECORD + ".part", *(path.name for path in _pairs(folder))} if folder.is_dir() else set()
    return sorted(path.name for path in folder.iterdir() if path.name not in own) if folder.is_dir() else []


def _pairs(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if re.fullmatch(r"(index-\d+\.faiss|images-\d+\.parquet)", path.name)]


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        right = (record["format"] == FORMAT and all(isinstance(record[key], str) for key in ("network", "root"))
                 and all(isinstance(record[key], int) for key in ("dim", "count"))
                 and record["metric"] == "cosine" and bool(INDEX_TYPES.fullmatch(record["index_type"]))
                 and set(record["files"]) == {"index", "table"}
                 and all(re.fullmatch(r"[\w-]+\.(faiss|parquet)", entry["name"]) for entry in record["files"].values())
                 and all(isinstance(entry["reason"], str) for entry in record["skipped"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no record of a search index ({type(error).__name__}: {error})") from error
    if not right:
        raise ValueError(f"{path} is no record of a search index of format {FORMAT}")
    return record


def _check_header(path: Path, record: dict[str, Any], remedy: str) -> None:
    """The header says what it should, and the file is large enough for as many vectors."""
    code, width = CODES[re.sub(r"\d+", "", record["index_type"], count=1) if record["index_type"].startswith("HNSW")
                        else record["index_type"]]
    layout = struct.Struct("<4siqqq?i")  # code, d, ntotal, two unused, is_trained, metric
    with open(path, "rb") as file:
        head = file.read(layout.size)
    if len(head) == layout.size:
        found, dim, count, _, _, _, metric = layout.unpack(head)
        right = (code.encode(), record["dim"], record["count"], faiss.METRIC_INNER_PRODUCT)
        if (found, dim, count, metric) == right and path.stat().st_size >= layout.size + count * dim * width:
            return
    raise ValueError(f"{path} is not the FAISS index that {RECORD} describes ({record['count']} x {record['dim']}, "
                     f"{record['index_type']}): {remedy}")
