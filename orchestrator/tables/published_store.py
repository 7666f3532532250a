"""The store of a published study: its rows, committed to a store in the cache.

They are committed once per content, and read from there. That store takes no results.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import pyarrow as pa

from orchestrator.ledger.commits import RANK, DamagedError
from orchestrator.ledger.declared import Declaration, Declared, Description
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parquet import read_parquet
from orchestrator.ledger.stored_json import parse_object
from orchestrator.storage.local_files import placed_folder
from orchestrator.storage.object_store import Store
from orchestrator.tables.compaction import compact_committed
from orchestrator.tables.published import FILES, FORMAT, MANIFEST, TABLES, by_trial
from orchestrator.tables.published_calibration import decoded
from trainables.places import cache_dir

MOST_BYTES = 200 << 20
"""A larger file is not read."""
NAME = re.compile(r"\w[\w.-]{0,199}")
"""A folder or a file in a key."""

TEXTS = {"declarations": ("key", "text"), "trials": ("digest", "outcome")}
"""Columns of texts that are read before the rows are checked as a whole; elsewhere the digest."""


class PublishedStore(Store):
    """The store of a published study, which can be read only."""

    def put(self, key: str, value: bytes) -> NoReturn:
        self._refuse(key)

    def put_stream(self, key: str, write: Callable[[BinaryIO], object]) -> NoReturn:
        self._refuse(key)

    def create(self, key: str, value: bytes) -> NoReturn:
        self._refuse(key)

    def delete(self, key: str) -> NoReturn:
        self._refuse(key)

    def _refuse(self, key: str) -> NoReturn:
        raise ValueError(
            "a published study takes no results and no changes; name another store with --store, or"
            " copy its space.py"
        )


def is_published(place: str) -> bool:
    """Whether a place is the directory of a published study."""
    return "://" not in place and (Path(place).expanduser() / MANIFEST).is_file()


def published_name(place: str) -> str:
    """Return the name of the study that is published in a directory."""
    return str(_manifest(Path(place).expanduser())[0]["study"])


def open_ledger(place: str) -> Ledger:
    """Return the ledger of a store, or that of the directory of a published study.

    Raises:
        ValueError: the published files are damaged, or a newer Segprint wrote them.
    """
    if not is_published(place):
        return Ledger(Store(place))
    return Ledger(PublishedStore(str(_restored(Path(place).expanduser()))))


def _manifest(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the content of a manifest, and its bytes."""
    path = folder / MANIFEST
    raw = _bytes(path)
    try:
        content: Any = json.loads(raw)
        number, files = int(content["format"]), set(content["files"].keys())
        if not NAME.fullmatch(content["study"]):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise DamagedError(f"{path} does not describe a published study") from None
    if number > FORMAT:
        raise DamagedError(f"{path}: a newer Segprint wrote it (format {number}, not {FORMAT})")
    unknown = files - FILES
    if unknown or not {"declarations.parquet", "trials.parquet"} <= files:
        raise DamagedError(f"{path} names other files than {', '.join(sorted(FILES))}")
    return cast("dict[str, Any]", content), raw


def _bytes(path: Path) -> bytes:
    """Return the content of a published file."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DamagedError(f"{path}: {size} bytes, at most {MOST_BYTES} are read")
        return path.read_bytes()
    except FileNotFoundError:
        raise DamagedError(f"{path}: a published file is missing") from None


def _restored(folder: Path) -> Path:
    """Return the directory of the store with the rows of a published study."""
    manifest, raw = _manifest(folder)
    files: dict[str, bytes] = {}
    for name, sha256 in manifest["files"].items():
        files[name] = _bytes(folder / name)
        if hashlib.sha256(files[name]).hexdigest() != sha256:
            raise DamagedError(f"{folder / name} is not the file that was published")
    whole = cache_dir() / "published" / hashlib.sha256(raw).hexdigest()[:32]
    if whole.is_dir():
        return whole
    try:
        with placed_folder(whole) as new:
            _commit_all(Ledger(Store(str(new))), manifest, files)
    except OSError:
        if not whole.is_dir():  # else another process has restored it
            raise
    return whole


def _commit_all(ledger: Ledger, manifest: dict[str, Any], files: dict[str, bytes]) -> None:
    """Declare and commit the rows of a published study in a new store, and compact them."""
    trials: list[tuple[Declared, Declaration]] = []
    for row in _table("declarations", files).to_pylist():
        slot = Declared.parse(row["key"])
        parts = row["key"].split("/")
        if slot is None or slot.study != manifest["study"] or not all(map(NAME.fullmatch, parts)):
            raise DamagedError(f"{row['key']!r} is not the key of a declared trial of this study")
        trials.append((slot, cast("Declaration", parse_object(row["key"], row["text"]))))
    ledger.studies.declare_all(trials)
    if manifest.get("description"):
        ledger.studies.describe(manifest["study"], cast("Description", manifest["description"]))
    rows = _rows_of_trials({slot.digest for slot, _ in trials}, files)
    for digest, tables in sorted(rows.items()):
        outcomes = tables["trials"]["outcome"].to_pylist() if "trials" in tables else []
        if len(outcomes) != 1 or outcomes[0] not in RANK:
            raise DamagedError(
                f"trials.parquet: trial {digest} has the outcomes {outcomes!r}; it must have one of"
                f" {', '.join(RANK)}"
            )
        ledger.commit(digest, outcomes[0], tables)
    compact_committed(ledger.store)


def _rows_of_trials(digests: set[str], files: dict[str, bytes]) -> dict[str, dict[str, pa.Table]]:
    """Return the rows of each published trial, by its digest and the name of the table."""
    rows: dict[str, dict[str, pa.Table]] = {}
    for name in TABLES:
        if f"{name}.parquet" not in files:
            continue
        table = _table(name, files)
        if not table.num_rows:
            continue
        column = cast("list[str]", table["digest"].to_pylist())
        starts = [i for i, digest in enumerate(column) if i == 0 or digest != column[i - 1]]
        for start, end in pairwise([*starts, len(column)]):
            digest = column[start]
            if digest not in digests:
                raise DamagedError(f"{name}.parquet: the digest {digest!r} is of no declared trial")
            rows.setdefault(digest, {})[name] = table.slice(start, end - start)
    return rows


def _table(name: str, files: dict[str, bytes]) -> pa.Table:
    """Return the rows of a published file."""
    try:
        table = read_parquet(io.BytesIO(files[f"{name}.parquet"]))
        for column in TEXTS.get(name, ("digest",)):
            if not pa.types.is_string(table[column].type) or table[column].null_count:
                raise DamagedError(f"{name}.parquet: {column} must be a text in every row")
        table = decoded(table) if name == "calibration" else table
        return table if name == "declarations" else by_trial(table)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DamagedError(f"{name}.parquet is not readable: {error}") from None
