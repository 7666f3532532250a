"""A Delta table below ``tables/``: the only file that knows ``deltalake``.

The data files are ours, named by their content's hash; Delta keeps the log that says which of
them make up the table, so that Spark, Polars and DuckDB read it as any other. Every commit names
the transaction that it follows: of two committers at once, the second is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import quote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from orchestrator.ledger.commits import DamagedError
from orchestrator.ledger.parquet import to_parquet
from orchestrator.storage.credentials import aws_chain
from orchestrator.storage.local_files import Entry
from orchestrator.storage.object_store import Store
from orchestrator.tables import log_seal
from orchestrator.tables.log_seal import ROOT, File, Seal, content_hash
from trainables.schemas import SCHEMAS

SERIAL, FOLDED = "segprint", "segprint.folded"
"""Transactions in the log: the commits in order, and the last batch that was folded in."""
KEPT = "interval 36500 days"
"""Of the log; data files that nothing refers to go by ``tables gc``."""
CHECKPOINTED = "10"
"""Commits until the log is summed up: whoever opens a table reads each one since, several times."""


class ContestedError(RuntimeError):
    """Another committer was first: look again and decide anew."""


@dataclass(frozen=True)
class TableVersion:
    """A table at one version: its files, and the number of the last batch in them.

    ``log`` is the log's own name: a log that was made anew has another.
    """

    name: str
    log: str
    version: int
    serial: int
    folded: int
    files: tuple[File, ...]
    table: DeltaTable = field(compare=False, repr=False)

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def seal(self) -> Seal:
        """What its committer says of it."""
        content = content_hash(self.serial, self.folded, self.files)
        return Seal(self.log, self.version, content, self.serial, self.folded)


def load(store: Store, name: str) -> TableVersion | None:
    """The table as it stands; None if nothing was ever folded into it.

    Raises:
        DamagedError: the log cannot be read, or has lost something.
    """
    sealed = log_seal.read(store, name)  # before the log, which only grows
    state = _open(store, name, sealed)
    if sealed is None:
        return state
    if state is None:
        raise DamagedError(f"{_log(name)}: the log is missing; run `segprint tables rebuild`")
    if state.seal.contradicts(sealed):
        raise DamagedError(
            f"{_log(name)}: version {state.version} is not what was written as version"
            f" {sealed.version}; run `segprint tables rebuild`"
        )
    return state


def change(
    store: Store,
    name: str,
    add: Sequence[pa.Table],
    remove: Sequence[File] = (),
    folded: int | None = None,
    follows: TableVersion | None = None,
) -> TableVersion:
    """Write data files and commit them, in place of others if given; ``folded`` is the batch.

    Raises:
        ContestedError: somebody committed since ``follows`` was loaded.
        DamagedError: the log cannot be read.
        ValueError: a column has another type than in the table.
    """
    if follows is None:
        _create(store, name)
    state = _still(store, follows) if follows else None
    if state is None:
        state = _open(store, name)
    if state is None:  # dropped, to be made anew
        raise ContestedError(name)
    if (state != follows if follows else state.serial) or not set(remove) <= set(state.files):
        raise ContestedError(name)
    table = state.table
    new = _strangers(name, table)
    if new:
        try:
            table.alter.add_columns(list(Schema.from_arrow(pa.schema(new)).fields))
        except CommitFailedError:
            raise ContestedError(name) from None
    transactions = [Transaction(SERIAL, state.serial + 1)]
    if folded is not None:
        transactions.append(Transaction(FOLDED, folded))
    added = [_added(store, name, rows, change=not remove) for rows in add]
    now = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = [action for _, action in added]
    actions += [RemoveAction(_path(name, f), False, now, f.size, {}) for f in remove]
    files = {*state.files, *(file for file, _ in added)} - set(remove)
    made = replace(
        state,
        version=table.version() + 1,
        serial=state.serial + 1,
        folded=state.folded if folded is None else folded,
        files=tuple(sorted(files, key=lambda f: f.key)),
    )
    try:
        table.create_write_transaction(
            actions,
            "append",
            SCHEMAS[name],
            commit_properties=CommitProperties(app_transactions=transactions),
        )
    except (DeltaError, OSError) as error:
        after = _open(store, name)  # an answer may be lost on its way back
        if after is None or after.seal.content != made.seal.content:
            if isinstance(error, CommitFailedError):
                raise ContestedError(name) from None
            raise store.error("write", _log(name), OSError(_line(error))) from error
        made = after
    log_seal.write(store, name, made.seal)
    return made


def unreferenced(store: Store, name: str) -> list[Entry]:
    """Data files that the table does not consist of: merged since, or never committed."""
    state = load(store, name)
    if state is None:
        return []
    used = {file.key for file in state.files}
    return [
        entry
        for entry in store.entries(f"{ROOT}{name}/")
        if entry.key.endswith(".parquet")
        and "/_delta_log/" not in entry.key
        and entry.key not in used
    ]


def agree(store: Store) -> None:
    """Refuse to go on where a column has another type here than in the store's tables.

    Raises:
        ValueError: names the column and both types.
    """
    for name in SCHEMAS:
        state = _open(store, name)
        if state is not None:
            _strangers(name, state.table)


def drop(store: Store, name: str) -> None:
    """Forget the table: without its log, readers go to the parts; files go by ``tables gc``."""
    store.delete(log_seal.key(name))
    for key in store.list(f"{_log(name)}/"):
        store.delete(key)


def _still(store: Store, state: TableVersion) -> TableVersion | None:
    """The state as it was loaded, if it is sealed: then nobody dropped the log since.

    If somebody committed since, and has not sealed it yet, the log refuses the same serial.
    """
    if log_seal.read(store, state.name) != state.seal:
        return None
    with contextlib.suppress(DeltaError, OSError):  # then it is opened anew
        if state.table.version() < state.version:
            state.table.update_incremental()
    return state if state.table.version() == state.version else None


def _open(store: Store, name: str, sealed: Seal | None = None) -> TableVersion | None:
    uri = _uri(store, name)
    try:
        table = store.wait(
            "read", _log(name), lambda: DeltaTable(uri, storage_options=_options(store))
        )
        actions: Any = pa.table(table.get_add_actions())
        columns = zip(
            *(actions[c].to_pylist() for c in ("path", "size_bytes", "num_records")), strict=True
        )
        listed = [File(f"{ROOT}{name}/{path}", size, rows) for path, size, rows in columns]
        files = tuple(sorted(listed, key=lambda f: f.key))
        log = str(table.metadata().id)
        numbers = sealed.numbers(log, table.version(), files) if sealed else None
        serial, folded = numbers or (
            table.transaction_version(key) or 0 for key in (SERIAL, FOLDED)
        )
        return TableVersion(name, log, table.version(), serial, folded, files, table)
    except TableNotFoundError:
        return None
    except Exception as error:  # it names no class for a log that does not parse
        if store.remote and not isinstance(error, (DeltaError, ValueError, KeyError, TypeError)):
            raise store.error("read", _log(name), OSError(_line(error))) from error
        raise DamagedError(
            f"{_log(name)}: the log is damaged ({_line(error)}); run `segprint tables rebuild`"
        ) from None


def _create(store: Store, name: str) -> None:
    uri = _uri(store, name)
    try:
        DeltaTable.create(
            uri,
            SCHEMAS[name],
            mode="ignore",
            configuration={
                "delta.logRetentionDuration": KEPT,
                "delta.checkpointInterval": CHECKPOINTED,
            },
            storage_options=_options(store),
        )
    except (DeltaError, OSError) as error:
        if _open(store, name) is None:
            raise store.error("write", _log(name), OSError(_line(error))) from error


def _strangers(name: str, table: DeltaTable) -> list[pa.Field]:
    """Columns that the table does not have yet; a changed type is refused."""
    known = {f.name: f for f in pa.schema(cast("Any", table.schema().to_arrow()))}
    for column in SCHEMAS[name]:
        if column.name in known and not _same(known[column.name].type, column.type):
            raise ValueError(
                f"{name}.{column.name} is {column.type} here and {known[column.name].type} in the"
                " store: a column keeps its type; give the new one a new name"
            )
    return [column for column in SCHEMAS[name] if column.name not in known]


def _same(one: pa.DataType, other: pa.DataType) -> bool:
    return one == other or {str(one), str(other)} <= {"string", "large_string", "string_view"}


def _added(store: Store, name: str, rows: pa.Table, *, change: bool) -> tuple[File, AddAction]:
    """Write a data file; what the log is to say of it."""
    value = to_parquet(rows)
    path = f"{hashlib.sha256(value).hexdigest()}.parquet"
    store.put(f"{ROOT}{name}/{path}", value)
    stats = json.dumps({"numRecords": rows.num_rows})
    action = AddAction(path, len(value), {}, int(time.time() * 1000), change, stats)
    return File(f"{ROOT}{name}/{path}", len(value), rows.num_rows), action


def _log(name: str) -> str:
    return f"{ROOT}{name}/_delta_log"


def _path(name: str, file: File) -> str:
    return file.key.removeprefix(f"{ROOT}{name}/")


def _uri(store: Store, name: str) -> str:
    """Quoted: what opens it takes it for a URL."""
    local = store.local_path(f"{ROOT}{name}")
    if local is not None:
        return local.as_uri()
    return f"s3://{quote(store.url.removeprefix('s3://').rstrip('/'))}/{ROOT}{name}"


def _options(store: Store) -> dict[str, str] | None:
    if not store.remote:
        return None
    return {"AWS_ALLOW_HTTP": "true", **aws_chain(int(time.time() // 300))}


def _line(error: Exception) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return plain.strip().partition("\n")[0][:300]
