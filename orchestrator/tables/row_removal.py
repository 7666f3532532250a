"""Removes the rows of trials from the compacted tables, file by file."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.ledger.parquet import coded, read_parquet
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
    for name in TABLES:
        version = delta_log.load(store, name)
        for file in version.files if version is not None else ():
            if not _among(_digests(store, file), digests).any():
                continue
            rows = file_cache.read(store, file)
            keep = ~_among(rows["digest"], digests)
            kept = [rows.filter(pa.array(keep))] if keep.any() else []
            change = Change(add=kept, remove=[file], deletes=True)
            try:
                version = commit(store, name, change, version)
            except ConflictError as error:
                raise BusyError(str(error)) from None
            renew()


def compacted_rows(store: Store, digests: Collection[str]) -> int:
    """Return how many attempts of some trials the compacted tables hold."""
    trials = delta_log.load(store, "trials")
    files = trials.files if trials is not None else ()
    return sum(int(_among(_digests(store, file), digests).sum()) for file in files)


def _digests(store: Store, file: DataFile) -> pa.ChunkedArray[Any]:
    (path,) = file_cache.paths(store, [file])
    return read_parquet(path, ["digest"])["digest"]


def _among(column: pa.ChunkedArray[Any], digests: Collection[str]) -> NDArray[np.bool_]:
    """Return for each row whether it is of one of the trials."""
    names, index = coded(column)
    return np.isin(names, list(digests))[index]
