"""Lost commit records: attempts that were compacted, or about to be, whose record is gone."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from orchestrator.ledger.commits import (
    PREFIX,
    Commit,
    DamagedError,
    Record,
    StoredTable,
    labels_of,
)
from orchestrator.ledger.parquet import read_parquet, stored_as
from orchestrator.storage.object_store import Store
from orchestrator.tables import delta_log, file_cache
from orchestrator.tables.compaction_log import batches
from trainables.schemas import ABOUT, SCHEMA_VERSION, SCHEMAS

QUARANTINE = "quarantine/"
"""Below it are commit records that were set aside, and notes in place of deleted ones; none of
them is lost."""

REPLACED = "replaced/"
"""The folder below :data:`QUARANTINE` for those whose commit has a record again."""


def lost(store: Store, attempts: Mapping[str, str], listed: Iterable[str]) -> dict[str, str]:
    """Return the attempts without a commit record, by the record's key.

    ``listed`` are the keys of a listing; a record that it lacks is looked for before it is lost.
    """
    missing = sorted(attempts.keys() - set(listed))
    if not missing:
        return {}
    present = store.get_many(missing)
    aside = {PREFIX + key.removeprefix(QUARANTINE) for key in store.list(QUARANTINE)}
    return {key: attempts[key] for key in missing if key not in present and key not in aside}


def readmit(store: Store, keys: Collection[str]) -> None:
    """Move the quarantined records of commits that have a record again below ``replaced/``.

    Where they were, they would hide the loss of the new record.
    """
    for aside in store.list(QUARANTINE):
        name = aside.removeprefix(QUARANTINE)
        if PREFIX + name in keys:
            store.put(f"{QUARANTINE}{REPLACED}{name}", store.get(aside))
            store.delete(aside)


def restore(store: Store, attempts: Mapping[str, str]) -> dict[str, Record | DamagedError]:
    """Write the lost records of attempts again; return the record or what prevents it, by key.

    A record is made from the attempt's objects. They must be those of the batch that names the
    attempt, or, if the batch is of an earlier Segprint, have as many rows as the tables hold.
    """
    hashes = {key: h for batch in batches(store) for key, h in batch.objects.items()}
    unhashed = {attempt for key, attempt in attempts.items() if key not in hashes}
    rows = _rows_in_tables(store, unhashed) if unhashed else {}
    restored: dict[str, Record | DamagedError] = {}
    for key, attempt in attempts.items():
        try:
            record = _record(store, key, attempt)
            counts = {name: table.rows for name, table in record.tables.items()}
            same = hashes[key] == record.objects if key in hashes else rows[attempt] == counts
            if not same:
                raise DamagedError(
                    f"{key}: the objects of {attempt} are not all that was committed"
                )
            store.create(key, record.dump())
            restored[key] = record
        except DamagedError as error:
            restored[key] = error
    return restored


def _record(store: Store, key: str, attempt: str) -> Record:
    """Return a record of the objects that an attempt has in the store."""
    commit = Commit.parse(key)
    assert commit is not None, key
    folder = f"trials/{commit.digest}/{attempt}/"
    tables: dict[str, StoredTable] = {}
    labels: Mapping[str, Any] = {}
    for path, value in store.get_many(store.list(folder)).items():
        name = path.removeprefix(folder).removesuffix(".parquet")
        rows = _rows(path, name, value)
        tables[name] = stored_as(name, path, value, rows.num_rows)
        if name == "trials":
            (labels,) = rows.slice(0, 1).to_pylist()
    if [labels.get(n) for n in ("digest", "attempt", "outcome")] != [
        commit.digest,
        attempt,
        commit.outcome,
    ]:
        raise DamagedError(f"{key}: {folder}trials.parquet is missing, or is of another attempt")
    return Record(
        key=key,
        digest=commit.digest,
        attempt=attempt,
        outcome=commit.outcome,
        schema=SCHEMA_VERSION,
        committed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        labels=labels_of(labels),
        tables=tables,
    )


def _rows(path: str, name: str, value: bytes) -> pa.Table:
    """Return the rows of an object; its columns must be those of the current schema."""
    try:
        rows = read_parquet(io.BytesIO(value))
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"{path}: {error}") from None
    columns = set(rows.column_names)
    if name not in SCHEMAS or not set(ABOUT) <= columns <= set(SCHEMAS[name].names):
        raise DamagedError(f"{path}: its schema is not the current one")
    return rows


def _rows_in_tables(store: Store, attempts: set[str]) -> dict[str, dict[str, int]]:
    """Return the number of rows that each table has of some attempts, by attempt and table."""
    counts: dict[str, dict[str, int]] = {attempt: {} for attempt in attempts}
    for name in SCHEMAS:
        version = delta_log.load(store, name)
        for path in file_cache.paths(store, version.files) if version else []:
            for attempt, count in Counter(
                read_parquet(path, ["attempt"])["attempt"].to_pylist()
            ).items():
                if attempt in attempts:
                    counts[attempt][name] = counts[attempt].get(name, 0) + count
    return counts
