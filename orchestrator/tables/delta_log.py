"""A Delta table below ``tables/``: its current version and its files.

The data files are named by the hash of their content. Delta keeps the log that lists the files of
each version, so that Spark, Polars and DuckDB can read the table. Only this module and
:mod:`orchestrator.tables.delta_commit` import ``deltalake``.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from orchestrator.ledger.commits import DamagedError
from orchestrator.storage.credentials import aws_chain
from orchestrator.storage.object_store import Store
from orchestrator.storage.objects import Entry
from orchestrator.tables import log_seal
from orchestrator.tables.log_seal import ROOT, DataFile, Seal, content_hash

SERIAL, BATCH, MEMBERS = "segprint", "segprint.folded", "segprint.members"
"""Application transactions in the log: the serial of a commit, the last batch appended, and a hash
of its attempts."""


@dataclass(frozen=True)
class TableVersion:
    """A version of a table."""

    name: str
    log: str
    """The log's id, which a rebuilt log does not share."""
    version: int
    serial: int
    """The number of our commits so far; Delta counts changes of the schema as versions too."""
    batch: int
    """The number of the last batch in the table."""
    members: int = field(compare=False)
    """A hash of that batch's attempts; 0 where an earlier Segprint wrote it."""
    files: tuple[DataFile, ...]
    table: DeltaTable = field(compare=False, repr=False)

    @property
    def rows(self) -> int:
        """The number of rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def seal(self) -> Seal:
        """The seal that the committer of this version writes."""
        content = content_hash(self.serial, self.batch, self.files)
        return Seal(self.log, self.version, content, self.serial, self.batch, self.members)

    def goes_with(self, other: TableVersion) -> bool:
        """Whether two tables can have received the same batch last."""
        if self.batch != other.batch or 0 in (self.members, other.members):
            return True
        return self.members == other.members


def load(store: Store, name: str) -> TableVersion | None:
    """Return the current version of a table; None if it has none, or its log is being deleted.

    Raises:
        DamagedError: the log cannot be read, or has lost something.
    """
    sealed = log_seal.read(store, name)  # before the log, which may grow in between
    current = open_version(store, name, sealed)
    if sealed is not None and sealed.dropped and (current is None or current.log == sealed.log):
        return None
    if current is None and sealed is None:
        return None
    if current is None:
        raise DamagedError(f"{log_key(name)}: the log is missing; run `segprint tables rebuild`")
    if not _unbroken(store, current, sealed):
        raise DamagedError(
            f"{log_key(name)}: an entry does not follow the one before it, as if two copies of the"
            " store were merged; run `segprint tables rebuild`"
        )
    if sealed is not None and current.seal.contradicts(sealed):
        raise DamagedError(
            f"{log_key(name)}: version {current.version} is not what was written as version"
            f" {sealed.version}; run `segprint tables rebuild`"
        )
    return current


def _unbroken(store: Store, current: TableVersion, sealed: Seal | None) -> bool:
    """Whether the entries since the seal follow one another; see :func:`log_seal.unbroken`."""
    if sealed is not None and sealed.log != current.log:
        sealed = None
    first = sealed.version + 1 if sealed else 0
    keys = [f"{log_key(current.name)}/{n:020}.json" for n in range(first, current.version + 1)]
    if not keys:
        return True
    values = store.get_many(keys)
    entries = [_commit_info(values.get(key, b"")) for key in keys]
    return log_seal.unbroken(sealed, entries, current.seal.content)


def _commit_info(entry: bytes) -> dict[str, Any] | None:
    """Return what a log entry says about its commit; None if it is missing or says nothing."""
    for line in entry.splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            info = json.loads(line).get("commitInfo")
            if isinstance(info, dict):
                return cast("dict[str, Any]", info)
    return None


def unreferenced(store: Store, name: str) -> list[Entry]:
    """Return the data files that are not part of a table: replaced since, or never committed."""
    current = load(store, name)
    if current is None:
        return []
    used = {file.key for file in current.files}
    return [
        entry
        for entry in store.entries(f"{ROOT}{name}/")
        if entry.key.endswith(".parquet")
        and "/_delta_log/" not in entry.key
        and entry.key not in used
    ]


def drop(store: Store, name: str) -> None:
    """Delete a table's log; readers then use the attempts' objects. ``tables gc`` deletes files.

    The seal says so first, and the newest entries go first: a damaged log, whose seal cannot name
    it, is then an earlier version for as long as a part of it is left.
    """
    _seal_as_dropped(store, name)
    while keys := store.list(f"{log_key(name)}/"):
        for key in reversed(keys):
            store.delete(key)
        if log_seal.read(store, name) is not None:
            _seal_as_dropped(store, name)  # another committer may have written it meanwhile
    store.delete(log_seal.key(name))


def _seal_as_dropped(store: Store, name: str) -> None:
    try:
        current = open_version(store, name)
    except DamagedError:
        current = None
    if current is None:
        store.delete(log_seal.key(name))
    else:
        log_seal.write(store, name, Seal.of_dropped(current.log))


def finish_drop(store: Store, name: str) -> None:
    """Delete what a killed :func:`drop` left of a log."""
    sealed = log_seal.read(store, name)
    if sealed is None or not sealed.dropped:
        return
    current = open_version(store, name)
    if current is not None and current.log == sealed.log:
        drop(store, name)


def open_version(store: Store, name: str, sealed: Seal | None = None) -> TableVersion | None:
    """Return the version that the log names, unchecked; see :func:`load`.

    ``sealed`` saves a search in the log, if it is of the same version.
    """
    try:
        table = store.with_retries(
            "read",
            log_key(name),
            lambda: DeltaTable(uri(store, name), storage_options=storage_options(store)),
        )
        return _version(name, table, sealed)
    except TableNotFoundError:
        return None
    except Exception as error:  # deltalake has no class of errors for a log that does not parse
        if store.remote and not isinstance(error, (DeltaError, ValueError, KeyError, TypeError)):
            raise store.error("read", log_key(name), OSError(first_line(error))) from error
        raise DamagedError(
            f"{log_key(name)}: the log is damaged ({first_line(error)});"
            " run `segprint tables rebuild`"
        ) from None


def _version(name: str, table: DeltaTable, sealed: Seal | None) -> TableVersion:
    actions: Any = pa.table(table.get_add_actions())
    paths, sizes, counts = (actions[c].to_pylist() for c in ("path", "size_bytes", "num_records"))
    keys = (f"{ROOT}{name}/{path}" for path in paths)
    files = sorted(map(DataFile, keys, sizes, counts), key=lambda f: f.key)
    log = str(table.metadata().id)
    numbers = sealed.numbers(log, table.version(), files) if sealed else None
    serial, batch, members = numbers or (
        table.transaction_version(key) or 0 for key in (SERIAL, BATCH, MEMBERS)
    )
    return TableVersion(name, log, table.version(), serial, batch, members, tuple(files), table)


def log_key(name: str) -> str:
    """Return where a table's log is stored."""
    return f"{ROOT}{name}/_delta_log"


def uri(store: Store, name: str) -> str:
    """Return the table's place as deltalake wants it, a quoted URL."""
    local = store.local_path(f"{ROOT}{name}")
    if local is not None:
        return local.as_uri()
    return f"s3://{quote(store.url.removeprefix('s3://').rstrip('/'))}/{ROOT}{name}"


def storage_options(store: Store) -> dict[str, str] | None:
    """Return the credentials and the endpoint that deltalake needs for S3."""
    if not store.remote:
        return None
    return {"AWS_ALLOW_HTTP": "true", **aws_chain(int(time.time() // 300))}


def first_line(error: Exception) -> str:
    """Return the first line of an error, without colours, at most 300 characters."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return plain.strip().partition("\n")[0][:300]
