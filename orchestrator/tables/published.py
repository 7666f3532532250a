"""Published studies: the rows of one study as a few Parquet files that anyone can read and check.

A directory ``NAME/`` holds ``published.json``, which is written last, ``declarations.parquet``, one
Parquet file per result table, and ``space.py`` where the space was given. It has no pixels, no
logs, no weights, no host names, no directories and no messages of failed trials; ``space.py`` is
published as it is. Of validation cases it has the counts and no histograms. Probabilities are kept
in 60 bins, from which those of 10, 15 and 20 are made, and their means in a bin to a millionth;
sums of distances and errors have six digits.

Readers open it as a store: the rows are committed to a store in the cache, once per content, and
read from there. That store takes no results.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.ledger.commits import RANK, DamagedError
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parquet import fields, read_parquet, to_parquet
from orchestrator.ledger.stored_json import parse_object
from orchestrator.ledger.studies import Declaration, Declared, Description
from orchestrator.storage.object_store import Store
from orchestrator.tables.compaction import compact_committed
from orchestrator.tables.published_calibration import as_decoded, decoded, encoded
from orchestrator.tables.snapshot import Snapshot
from trainables.decoding.tree import cache_dir
from trainables.schemas import SCHEMAS

MANIFEST = "published.json"
FORMAT = 2
MOST_BYTES = 200 << 20
"""A larger file is not read."""
LEFT_OUT = ("pictures", "logs")
TABLES = tuple(name for name in SCHEMAS if name not in LEFT_OUT)
FILES = {"space.py", "declarations.parquet", *(f"{name}.parquet" for name in TABLES)}
NAME = re.compile(r"\w[\w.-]{0,199}")
"""A folder or a file in a key."""
HIDDEN = ("host", "weights")
"""Columns of ``trials`` that are empty in a published study."""
HISTOGRAMS = ("calibration", "surfaces")
"""Tables of which only the rows of test cases are published."""
ROUNDED = ("surfaces", "probes")
"""Tables whose sums are rounded."""
ROUNDED_BITS = 33
"""The last bits of a sum's mantissa are noise, which does not compress: 19 of 52 bits are kept."""


@dataclass(frozen=True)
class Publication:
    """The size of a published study."""

    study: str
    trials: int
    files: int
    size: int
    """Bytes."""


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


def publish(ledger: Ledger, study: str, to: str, space: str | None = None) -> Publication:
    """Write a study's committed rows to a new directory; ``space`` is the text of its file.

    Raises:
        ValueError: the place is not an empty directory, or nothing of the study is committed.
    """
    place = Path(to).expanduser().absolute()
    if "://" in to or (place.exists() and (not place.is_dir() or any(place.iterdir()))):
        raise ValueError(f"{to}: a study is published into a new or empty directory")
    slots = ledger.studies.current(study, strict=True)
    digests = {slot.digest for slot in slots}
    snapshot = Snapshot(ledger.store)
    tables = {name: snapshot.table(name, digests) for name in TABLES}
    if not tables["trials"].num_rows:
        raise ValueError(f"study {study!r} has no committed trial yet")
    if snapshot.problems:
        raise ValueError(f"{snapshot.problems[0]}: a damaged study is not published")
    declared = ledger.studies.declarations(slots)
    written: dict[str, bytes] = {"declarations.parquet": _declarations(slots, declared)}
    for name, table in tables.items():
        if table.num_rows:
            rows = _sorted(as_published(name, table))
            rows = encoded(rows) if name == "calibration" else rows
            written[f"{name}.parquet"] = to_parquet(rows, small=True)
    if space is not None:
        written["space.py"] = space.encode()
    manifest = {
        "format": FORMAT,
        "study": study,
        "description": ledger.studies.description(study),
        "files": {name: hashlib.sha256(value).hexdigest() for name, value in written.items()},
    }
    written[MANIFEST] = json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n"
    temporary = place.parent / f".{place.name[:100]}.tmp-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir(parents=True)
        for name, value in written.items():
            (temporary / name).write_bytes(value)
        if place.exists():
            place.rmdir()
        os.rename(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    size = sum(map(len, written.values()))
    return Publication(study, tables["trials"].num_rows, len(written), size)


def _declarations(slots: Iterable[Declared], declared: dict[str, Declaration]) -> bytes:
    """Return the declarations of a study as Parquet: the key of each, and its text."""
    keys = sorted({slot.key for slot in slots} & declared.keys())
    texts = [json.dumps(without_directories(declared[key]), sort_keys=True) for key in keys]
    return to_parquet(pa.table({"key": pa.array(keys, pa.string()), "text": texts}))


def as_published(name: str, table: pa.Table) -> pa.Table:
    """Return a result table without what publication leaves out."""
    if name == "trials":
        configs = cast("list[str]", table["config"].to_pylist())
        plain = [json.dumps(without_directories(json.loads(text))) for text in configs]
        ends = zip(table["outcome"].to_pylist(), table["reason"].to_pylist(), strict=True)
        columns: dict[str, Any] = {
            **{field.name: table[field.name] for field in fields(table.schema)},
            "config": pa.array(plain, pa.string()),
            # The message of an exception may name any file.
            "reason": [None if outcome == "failed" else reason for outcome, reason in ends],
            **{hidden: [None] * table.num_rows for hidden in HIDDEN},
        }
        return pa.table(columns, schema=SCHEMAS[name])
    if name in HISTOGRAMS:
        table = table.filter(pc.field("split") == "test")
    if name == "calibration":
        return as_decoded(table)
    return _rounded(table) if name in ROUNDED else table


def _sorted(table: pa.Table) -> pa.Table:
    """Return rows with those of one trial together, which compresses best."""
    return cast("Any", table).sort_by("digest")


def _rounded(table: pa.Table) -> pa.Table:
    """Return a table whose float64 sums have a mantissa that is shorter by :data:`ROUNDED_BITS`."""
    half = 1 << (ROUNDED_BITS - 1)
    for at, field in enumerate(fields(table.schema)):
        if not pa.types.is_float64(field.type) or not field.name.endswith(("sum", "area")):
            continue
        column = table[field.name]
        bits = column.fill_null(pa.scalar(0.0)).to_numpy().view(np.int64)
        rounded = ((bits + half) & -(1 << ROUNDED_BITS)).view(np.float64)
        absent = column.is_null().to_numpy()
        table = table.set_column(at, field, pa.array(rounded, mask=absent))
    return table


def without_directories(value: Any) -> Any:
    """Return JSON with every absolute path and every URL reduced to its last name."""
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {without_directories(key): without_directories(inner) for key, inner in pairs}
    if isinstance(value, list):
        return [without_directories(inner) for inner in cast("list[Any]", value)]
    if isinstance(value, str) and (value.startswith(("/", "~", "./", "../")) or "://" in value):
        return Path(value).name
    return value


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
        number, files = int(content["format"]), set(content["files"])
        if not NAME.fullmatch(content["study"]):
            raise ValueError
    except (ValueError, KeyError, TypeError):
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
    temporary = whole.with_name(f"{whole.name}.tmp-{uuid.uuid4().hex[:8]}")
    try:
        _commit_all(Ledger(Store(str(temporary))), manifest, files)
        if not whole.is_dir():
            os.rename(temporary, whole)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
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
    digests = {slot.digest for slot, _ in trials}
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name in TABLES:
        for row in _table(name, files).to_pylist() if f"{name}.parquet" in files else ():
            if row["digest"] not in digests:
                raise DamagedError(
                    f"{name}.parquet: the digest {row['digest']!r} is of no declared trial"
                )
            rows.setdefault(row["digest"], {}).setdefault(name, []).append(row)
    for digest, tables in sorted(rows.items()):
        outcomes = [row["outcome"] for row in tables.get("trials", ())]
        if len(outcomes) != 1 or outcomes[0] not in RANK:
            raise DamagedError(
                f"trials.parquet: trial {digest} has the outcomes {outcomes!r}; it must have one of"
                f" {', '.join(RANK)}"
            )
        ledger.commit(digest, outcomes[0], tables)
    compact_committed(ledger.store)


def _table(name: str, files: dict[str, bytes]) -> pa.Table:
    """Return the rows of a published file."""
    try:
        table = read_parquet(io.BytesIO(files[f"{name}.parquet"]))
        return decoded(table) if name == "calibration" else table
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DamagedError(f"{name}.parquet is not readable: {error}") from None
