"""A cache of the analyses' results on this machine.

The name of a result is a hash of everything that it depends on: the attempts and declarations that
it is computed from, and the code. So a result is never out of date, and nobody has to clear it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from orchestrator.ledger.parquet import read_parquet, to_parquet
from orchestrator.storage.local_files import place
from trainables.places import cache_dir

MOST_RESULTS = 200
"""Results that are kept; the least recently used ones are deleted first."""
ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("orchestrator", "trainables", "search_spaces")
"""Packages that an analysis may call."""


def cached(
    name: str,
    inputs: Iterable[pa.Table],
    compute: Callable[[], pa.Table],
    *,
    valid: Callable[[], bool],
) -> pa.Table:
    """Return a result from the cache, else compute it, and keep it if it is ``valid`` then."""
    folder = cache_dir() / "views"
    path = folder / f"{name}-{_hash(inputs)}.parquet"
    with contextlib.suppress(OSError, pa.ArrowInvalid):  # absent or damaged: computed again
        result = read_parquet(path)
        os.utime(path)
        return result
    result = compute()
    if valid():
        with contextlib.suppress(OSError):  # the disk may be full
            place(path, to_parquet(result), replace=True)
            _delete_oldest(path.parent)
    return result


def _delete_oldest(folder: Path) -> None:
    results = sorted(folder.glob("*.parquet"), key=lambda p: -p.stat().st_mtime)
    for old in results[MOST_RESULTS:]:
        old.unlink(missing_ok=True)


def _hash(inputs: Iterable[pa.Table]) -> str:
    """Return a hash of the inputs, whose rows may come in any order, and of the code."""
    digest = hashlib.sha256(_code())
    for table in inputs:
        order = [(name, "ascending") for name in table.column_names]
        ordered: pa.Table = cast("Any", table).sort_by(order)
        digest.update(to_parquet(ordered))
    return digest.hexdigest()[:32]


@functools.cache
def _code() -> bytes:
    """Return a hash of the code of :data:`PACKAGES`."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.digest()
