"""Concurrent writers: commits by the ledger against appends by delta-rs.

There are 32 processes with 50 attempts each, on a real S3 server. In the first two rounds, both
write the same rows of one trial to one table; for ``deltalake.write_deltalake`` the table exists,
so that it only appends. In the third round, the ledger commits whole attempts of six tables. The
tests' proxy counts the requests of a single writer.

A writer stops after four minutes, and the number of its attempts is printed: with its defaults,
delta-rs would need half an hour on two cores.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.credentials import aws_chain
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction
from orchestrator.tables.snapshot import Snapshot
from tests.faults.proxy import Proxy
from tests.server import BUCKET, serving
from trainables.schemas import SCHEMAS, Tables, to_arrow

WRITERS, ATTEMPTS, COUNTED, COMPACTIONS = 32, 50, 5, 14
LIMIT = float(os.environ.get("SEGPRINT_BENCH_SECONDS", "240"))
ROOT = f"s3://{BUCKET}"
Write = Callable[[str], None]


@dataclass(frozen=True)
class Way:
    """A way to write the attempt of a digest, and to read all digests that were written."""

    name: str
    write: Write
    read: Callable[[], list[str]]


def main() -> None:
    """Print the failures and losses of each way, its speed and its requests per attempt."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as env:
        os.environ |= {**env, "AWS_ALLOW_HTTP": "true"}
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(WRITERS)
        speeds: dict[str, float] = {}
        with context.Pool(WRITERS, _enter, (barrier,)) as pool:
            for way in ways("race"):
                found = pool.map(partial(writer, way), range(WRITERS), 1)
                kept, failed = ({d for f in found for d in f[i]} for i in (0, 1))
                seconds = max(f[3] for f in found) - min(f[2] for f in found)
                there = Counter(way.read())
                speeds[way.name] = len(kept) / seconds
                print(
                    f"appends: {way.name}: {len(failed)} of {len(kept | failed)} failed,"
                    f" {len(kept - there.keys())} lost, {there.total() - len(there)} doubled,"
                    f" {len(failed & there.keys())} there though failed,"
                    f" {speeds[way.name]:.1f} per second,"
                    f" ratio {speeds[way.name] / speeds['delta-rs']:.1f}"
                )
        count(env)


def count(env: dict[str, str]) -> None:
    """Print the requests per attempt of each way, after a first attempt that connects."""
    server = urlsplit(env["AWS_ENDPOINT_URL"])
    with Proxy(str(server.hostname), int(server.port or 0)) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        aws_chain.cache_clear()  # cached credentials bypass the proxy
        for way in ways("alone"):
            way.write("first")
            before = proxy.requests.copy()
            for i in range(COUNTED):
                way.write(f"d{i}")
            per_attempt = {k: n / COUNTED for k, n in sorted((proxy.requests - before).items())}
            listed = ", ".join(f"{n:g} {method}" for method, n in per_attempt.items())
            total = sum(per_attempt.values())
            print(f"appends: {way.name}: {total:g} requests per attempt ({listed})")
        count_compactions(proxy)


def count_compactions(proxy: Proxy) -> None:
    """Print the requests of repeatedly compacting one attempt into all tables.

    Readers of a log start at its last checkpoint, which is written every ten commits.
    """
    ledger, counts = Ledger(Store(f"{ROOT}/compactions")), list[int]()
    for i in range(COMPACTIONS):
        commit(ledger, True, f"d{i}")
        before = proxy.requests.total()
        compaction.compact_committed(ledger.store)
        counts.append(proxy.requests.total() - before)
    print(f"appends: one attempt compacted: {', '.join(map(str, counts))} requests")


def ways(place: str) -> list[Way]:
    """Return the ways, first delta-rs, with which the others are compared."""
    table = f"{ROOT}/{place}/delta"
    DeltaTable.create(table, SCHEMAS["trials"])
    alone, whole = (Ledger(Store(f"{ROOT}/{place}/{name}")) for name in ("one", "six"))
    return [
        Way("delta-rs", partial(append, table), partial(appended, table)),
        Way("ours, the same rows", partial(commit, alone, False), partial(committed, alone)),
        Way("ours, whole attempts", partial(commit, whole, True), partial(committed, whole)),
    ]


def append(table: str, digest: str) -> None:
    """Append with delta-rs. The table stays open, because opening it reads the whole log."""
    key = {"digest": digest, "attempt": digest, **ABOUT}
    try:
        write_deltalake(_opened(table), to_arrow("trials", TRIAL["trials"], key), mode="append")
    except DeltaError:
        _opened(
            table
        ).update_incremental()  # so that the next append starts from the latest version
        raise


@cache
def _opened(table: str) -> DeltaTable:
    return DeltaTable(table)


def appended(table: str) -> list[str]:
    rows: Any = pa.table(DeltaTable(table).to_pyarrow_table(columns=["digest"]))
    return rows["digest"].to_pylist()


def commit(ledger: Ledger, whole: bool, digest: str) -> None:
    """Commit with the ledger, as a worker does at the end of its trial."""
    if not ledger.commit(digest, "finished", WHOLE if whole else TRIAL):
        raise RuntimeError(f"{digest} was committed before")


def committed(ledger: Ledger) -> list[str]:
    return Snapshot(ledger.store).table("trials")["digest"].to_pylist()


def _enter(barrier: Barrier) -> None:
    globals()["_barrier"] = barrier


def writer(way: Way, number: int) -> tuple[set[str], set[str], float, float]:
    """Write the attempts of one process; return those written, those failed, start and end."""
    kept, failed = set[str](), set[str]()
    with contextlib.suppress(Exception):  # the first attempt connects, which takes longer
        way.write(f"{number:02d}-first")
    globals()["_barrier"].wait()
    began = time.monotonic()
    for i in range(ATTEMPTS):
        if time.monotonic() - began > LIMIT:
            break
        digest = f"{number:02d}-{i:02d}"
        try:
            way.write(digest)
        except Exception:  # after any error, the rows may be missing
            failed.add(digest)
        else:
            kept.add(digest)
    return kept, failed, began, time.monotonic()


ABOUT = {"task": "nuclei", "model": "segdiff", "mode": "diffusion", "schedule": "cosine"}
CASE = {"split": "test", "group": "patient", "class": "nucleus"}
TRIAL: Tables = {
    "trials": [
        {**ABOUT, "outcome": "finished", "seed": 1, "config": "{}" * 500, "score": 0.8, "steps": 90}
    ]
}
WHOLE: Tables = {
    **TRIAL,
    "steps": [{"step": i, "loss_sum": 1.0 / (i + 1), "loss_count": 32} for i in range(20)],
    "cases": [{**CASE, "case": f"c{i}", "tp": 9, "fp": 1, "fn": 2, "tn": 8} for i in range(20)],
    "samples": [{**CASE, "case": f"c{i}", "truth_iou_sum": 0.7} for i in range(20)],
    "calibration": [
        {**CASE, "case": f"c{i % 20}", "bin": i // 20, "count": 9, "p_sum": i / 7}
        for i in range(1000)
    ],
    "probes": [
        {"case": f"c{i % 20}", "axis": "t", "bin": i // 40, "eps_error_sum": i / 7}
        for i in range(600)
    ],
}
