"""Commits to a Delta table below ``tables/``, each from a known version of the table.

Each commit carries a serial number as an application transaction, so that Delta refuses the second
of two committers that start from the same version. It also names the content of the version before
it, so that a log that was put together from two copies of a store is recognised.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from orchestrator.ledger.parquet import fields, to_parquet
from orchestrator.storage.object_store import Store
from orchestrator.tables import log_seal
from orchestrator.tables.delta_log import (
    BATCH,
    MEMBERS,
    SERIAL,
    TableVersion,
    finish_drop,
    first_line,
    log_key,
    open_version,
    storage_options,
    uri,
)
from orchestrator.tables.log_seal import CONTENT, FOLLOWS, ROOT, DataFile, Seal
from trainables.schemas import SCHEMAS

LOG_RETENTION = "interval 36500 days"
"""Delta drops nothing; ``segprint tables gc`` deletes data files that no version needs."""
CHECKPOINT_INTERVAL = "10"
"""Commits per checkpoint of the log: opening a table reads each commit since the last one."""
STRINGS = {"string", "large_string", "string_view"}


class ConflictError(RuntimeError):
    """Another committer changed the table first: load it and decide again."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{ROOT}{name}: another committer was first")


@dataclass(frozen=True)
class Change:
    """The content of one commit."""

    add: Sequence[pa.Table] = ()
    """Rows to add, one file each."""
    remove: Sequence[DataFile] = ()
    """Files whose rows the added ones replace; readers of changes skip such a commit."""
    batch: int | None = None
    """The number of the batch that is appended, if one is."""
    members: int = 0
    """A hash of that batch's attempts."""
    deletes: bool = False
    """Whether the added rows are not all of the removed ones, which readers of changes must see."""


def commit(store: Store, name: str, change: Change, base: TableVersion | None) -> TableVersion:
    """Apply a change to the version ``base`` of a table; None: to a table that does not exist yet.

    Returns the new version.

    Raises:
        ConflictError: the table is not at ``base``.
        DamagedError: the log cannot be read.
        ValueError: a column has another type in the table.
    """
    current = _create(store, name) if base is None else _current(store, base)
    _add_new_columns(current)
    same_rows = bool(change.remove) and not change.deletes
    added = [_write_file(store, name, rows, replaces=same_rows) for rows in change.add]
    files = {*current.files, *(file for file, _ in added)} - set(change.remove)
    changed = replace(
        current,
        version=current.table.version() + 1,
        serial=current.serial + 1,
        batch=current.batch if change.batch is None else change.batch,
        members=current.members if change.batch is None else change.members,
        files=tuple(sorted(files, key=lambda f: f.key)),
    )
    follows = {CONTENT: changed.seal.content, FOLLOWS: current.seal.content}
    changed = _write_log(store, changed, change, [action for _, action in added], follows)
    log_seal.write(store, name, changed.seal)
    return changed


def check_types(store: Store) -> None:
    """Compare the columns of all stored tables with this Segprint's schemas.

    Raises:
        ValueError: a column has another type in the store; names it and both types.
    """
    for name in SCHEMAS:
        current = open_version(store, name)
        if current is not None:
            _new_columns(current)


# -- the version that a commit starts from --------------------------------------------------------


def _create(store: Store, name: str) -> TableVersion:
    """Create an empty table; raise :class:`ConflictError` if another committer already used it."""
    finish_drop(store, name)
    try:
        DeltaTable.create(
            uri(store, name),
            SCHEMAS[name],
            mode="ignore",
            configuration={
                "delta.logRetentionDuration": LOG_RETENTION,
                "delta.checkpointInterval": CHECKPOINT_INTERVAL,
            },
            storage_options=storage_options(store),
        )
    except (DeltaError, OSError) as error:
        if open_version(store, name) is None:
            raise store.error("write", log_key(name), OSError(first_line(error))) from error
    current = open_version(store, name)
    if current is None or current.serial:
        raise ConflictError(name)
    return current


def _current(store: Store, base: TableVersion) -> TableVersion:
    """Return ``base`` as it stands now; raise :class:`ConflictError` if it is not current."""
    sealed = log_seal.read(store, base.name)
    if sealed is not None and sealed.dropped and sealed.log == base.log:
        raise ConflictError(base.name)
    current = _if_sealed(base, sealed) or open_version(store, base.name)
    if current is None or current != base:
        raise ConflictError(base.name)
    return current


def _if_sealed(base: TableVersion, sealed: Seal | None) -> TableVersion | None:
    """Return ``base`` if it is the sealed version, without opening the table again.

    A seal of this version shows that nobody dropped the log since. If somebody committed and has
    not written the seal yet, the log refuses the commit, because the serial is taken.
    """
    if sealed != base.seal:
        return None
    with contextlib.suppress(DeltaError, OSError):  # then it is opened again
        if base.table.version() < base.version:
            base.table.update_incremental()
    return base if base.table.version() == base.version else None


# -- the schema -----------------------------------------------------------------------------------


def _add_new_columns(current: TableVersion) -> None:
    columns = _new_columns(current)
    if not columns:
        return
    try:
        current.table.alter.add_columns(list(Schema.from_arrow(pa.schema(columns)).fields))
    except CommitFailedError:
        raise ConflictError(current.name) from None


def _new_columns(current: TableVersion) -> list[pa.Field[Any]]:
    """Return the columns of the schema that a table lacks.

    Raises:
        ValueError: a column has another type in the table.
    """
    schema = pa.schema(cast("Any", current.table.schema().to_arrow()))
    types = {column.name: column.type for column in fields(schema)}
    for column in fields(SCHEMAS[current.name]):
        if column.name in types and not _same(types[column.name], column.type):
            raise ValueError(
                f"{current.name}.{column.name} is {column.type} here and {types[column.name]} in"
                " the store: a column keeps its type; give the new one a new name"
            )
    return [column for column in fields(SCHEMAS[current.name]) if column.name not in types]


def _same(one: pa.DataType, other: pa.DataType) -> bool:
    return one == other or {str(one), str(other)} <= STRINGS


# -- writing --------------------------------------------------------------------------------------


def _write_file(
    store: Store, name: str, rows: pa.Table, *, replaces: bool
) -> tuple[DataFile, AddAction]:
    """Write a data file; return it and its entry for the log."""
    value = to_parquet(rows)
    path = f"{hashlib.sha256(value).hexdigest()}.parquet"
    store.put(f"{ROOT}{name}/{path}", value)
    stats = json.dumps({"numRecords": rows.num_rows})
    action = AddAction(path, len(value), {}, _now(), not replaces, stats)
    return DataFile(f"{ROOT}{name}/{path}", len(value), rows.num_rows), action


def _write_log(
    store: Store,
    changed: TableVersion,
    change: Change,
    added: list[AddAction],
    hashes: dict[str, str],
) -> TableVersion:
    """Commit a version to the log; raise :class:`ConflictError` if another one was committed."""
    name, now = changed.name, _now()
    removed = [
        RemoveAction(f.key.removeprefix(f"{ROOT}{name}/"), change.deletes, now, f.size, {})
        for f in change.remove
    ]
    transactions = [Transaction(SERIAL, changed.serial)]
    if change.batch is not None:
        transactions += [Transaction(BATCH, change.batch), Transaction(MEMBERS, change.members)]
    try:
        changed.table.create_write_transaction(
            [*added, *removed],
            "append",
            SCHEMAS[name],
            commit_properties=CommitProperties(
                custom_metadata=hashes, app_transactions=transactions
            ),
        )
    except (DeltaError, OSError) as error:
        after = open_version(
            store, name
        )  # the commit may have succeeded although its answer was lost
        if after is None or after.seal.content != changed.seal.content:
            if isinstance(error, CommitFailedError):
                raise ConflictError(name) from None
            raise store.error("write", log_key(name), OSError(first_line(error))) from error
        return after
    return changed


def _now() -> int:
    """Return the time in milliseconds since 1970."""
    return int(time.time() * 1000)
