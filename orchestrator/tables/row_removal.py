"""Removes the rows of trials from the compacted tables, file by file."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.ledger.parquet import read_parquet
from orchestrator.storage.object_store import Store
from orchestrator.tables import delta_log, file_cache
from orchestrator.tables.committer_lease import BusyError
from orchestrator.tables.compaction_log import TABLES
from orchestrator.tables.delta_commit import Change, ConflictError, commit
from orchestrator.tables.log_seal import DataFile


def remove_rows(store: Store, digests: Collection[str], renew: Callable[[], None]) -> None:
    """Replace each data file that holds rows of some trials by one without them.

    ``trials`` is last, so that it never lacks an attempt of which another table has rows. Replaced
    files stay for readers that opened them before, until ``segprint tables gc``.

    Raises:
        BusyError: another process changed a table at the same time.
        DamagedError: a log or a file cannot be read.
    """
    wanted = pa.array(sorted(digests), pa.string())
    for name in TABLES:
        version = delta_log.load(store, name)
        for file in version.files if version is not None else ():
            if not _holds(store, file, wanted):
                continue
            rows = file_cache.read(store, file)
            kept = rows.filter(pc.invert(_among(rows["digest"], wanted)))
            change = Change(add=[kept] if kept.num_rows else [], remove=[file], deletes=True)
            try:
                version = commit(store, name, change, version)
            except ConflictError as error:
                raise BusyError(str(error)) from None
            renew()


def compacted_rows(store: Store, digests: Collection[str]) -> int:
    """Return how many attempts of some trials the compacted tables hold."""
    trials = delta_log.load(store, "trials")
    wanted = pa.array(sorted(digests), pa.string())
    columns = [_digests(store, file) for file in (trials.files if trials is not None else ())]
    return sum(pc.sum(_among(column, wanted)).as_py() or 0 for column in columns)


def _holds(store: Store, file: DataFile, wanted: pa.Array) -> bool:
    return bool(pc.any(_among(_digests(store, file), wanted)).as_py())


def _digests(store: Store, file: DataFile) -> pa.ChunkedArray:
    (path,) = file_cache.paths(store, [file])
    return read_parquet(path, ["digest"])["digest"]


def _among(column: pa.ChunkedArray, wanted: pa.Array) -> pa.ChunkedArray:
    return pc.is_in(column.cast(pa.string()), value_set=wanted)
