"""What an analysis computed once, kept on this machine for the next command that asks.

The name of a kept result is a hash of all that it depends on: the attempts and declarations it is
made of, and the code. So it is never out of date, and never has to be cleared.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ledger.parquet import to_parquet
from trainables.decoding.tree import cache_dir

MOST = 200
"""Results that are kept; the least recently used go first."""
ROOT = Path(__file__).parent.parent.parent


def once(
    name: str,
    inputs: Iterable[pa.Table],
    compute: Callable[[], pa.Table],
    sound: Callable[[], bool],
) -> pa.Table:
    """A result from the cache, else computed, and kept there if it was made of ``sound`` rows."""
    folder = cache_dir() / "views"
    path = folder / f"{name}-{_hash(inputs)}.parquet"
    with contextlib.suppress(OSError, pa.ArrowInvalid):  # absent, or a disk's fault: computed anew
        found = pq.read_table(path)
        os.utime(path)
        return found
    made = compute()
    if not sound():
        return made
    with contextlib.suppress(OSError):  # no room to keep it
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".tmp-{uuid.uuid4().hex}"
        temporary.write_bytes(to_parquet(made))
        os.replace(temporary, path)
        for old in sorted(folder.glob("*.parquet"), key=lambda p: -p.stat().st_mtime)[MOST:]:
            old.unlink(missing_ok=True)
    return made


def _hash(inputs: Iterable[pa.Table]) -> str:
    digest = hashlib.sha256(_code())
    for table in inputs:
        digest.update(
            to_parquet(table.sort_by([(name, "ascending") for name in table.column_names]))
        )
    return digest.hexdigest()[:32]


@functools.cache
def _code() -> bytes:
    """A hash of whatever an analysis may call."""
    packages = ("orchestrator", "trainables", "search_spaces")
    files = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.digest()
