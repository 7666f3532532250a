"""Published studies: the rows of one study as a few Parquet files that anyone can read and check.

A directory ``NAME/`` holds ``published.json``, which is written last, ``declarations.parquet``, one
Parquet file per result table, and ``space.py`` where the space was given. It has no pixels, no
logs, no weights, no host names, no directories and no messages of failed trials; ``space.py`` is
published as it is. Of validation cases it has the counts and no histograms. Probabilities are kept
in 60 bins, from which those of 10, 15 and 20 are made, and their means in a bin to a millionth;
sums of distances and errors have six digits. Readers open it as a store (``published_store``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.ledger.declared import Declaration, Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parquet import fields, to_parquet
from orchestrator.storage.local_files import placed_folder
from orchestrator.tables.published_calibration import as_decoded, encoded
from orchestrator.tables.snapshot import Snapshot
from trainables.schemas import SCHEMAS

MANIFEST = "published.json"
FORMAT = 2
"""In the first format, calibration rows have sums; in the second, codes. Both are read."""
LEFT_OUT = ("pictures", "logs")
TABLES = tuple(name for name in SCHEMAS if name not in LEFT_OUT)
FILES = {"space.py", "declarations.parquet", *(f"{name}.parquet" for name in TABLES)}
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
            rows = by_trial(as_published(name, table))
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
    with placed_folder(place) as folder:
        for name, value in written.items():
            (folder / name).write_bytes(value)
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


def by_trial(table: pa.Table) -> pa.Table:
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
