"""A simulated study on 1,000 GPUs: the limits that the driver, the store and compaction impose.

First the cost per trial of each is measured on this machine. Then every trial of the study is an
event: it waits for the driver, which starts one trial at a time, runs for a lognormal time and
writes its attempt, and its GPU requests the next trial. One process compacts attempts. Each study
is compared with one whose driver takes no time. A slow store, lost nodes and checkpoints are not
simulated; the bandwidth of checkpoints is calculated.
"""

from __future__ import annotations

import heapq
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bench.appends import commit
from bench.sweeps import in_new_process, with_segprint
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.selection import Standing
from orchestrator.planning.validation import check
from orchestrator.search.optuna_search import CellSearch
from orchestrator.storage.credentials import aws_chain
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction
from search_spaces.noise_search import SPACE
from tests.faults.proxy import Proxy
from tests.server import BUCKET, serving

TRIALS, GPUS, SPREAD = 100_000, 1000, 0.3
MEANS = (60.0, 300.0, 3600.0)
"""Mean seconds per trial."""
SWEPT, COMMITTED, COMPACTED, ASKED = 300, 5, 200, (0, 250, 1000)
PARAMETERS, BYTES, INTERVAL = 113_674_370, 20, 600.0
"""Parameters of `ensemdiff` as published; bytes per parameter in a checkpoint (float32 weights,
their average, the best average, and two moments of Adam); seconds between checkpoints."""


@dataclass(frozen=True)
class Takes:
    """The cost of one trial in resources that all trials share."""

    driver: float
    """Seconds."""
    requests: float
    """Requests to the store at the end of the trial."""
    compactor: float
    """Seconds."""


@dataclass(frozen=True)
class Study:
    """The result of a simulation."""

    seconds: float
    busy: float
    """The share of GPU time that is spent in trials."""
    peak: float
    """Requests in the busiest second."""
    waiting: int
    """The largest number of attempts that wait for compaction."""


def main() -> None:
    """Print the measurements, then each study and its ratio to one without orchestration."""
    takes = Takes(driver_seconds(), requests(), seconds_to_compact())
    print(
        f"scale: measured: driver {1000 * takes.driver:.0f} ms per trial, {takes.requests:g}"
        f" requests per attempt, compaction {1000 * takes.compactor:.0f} ms per attempt"
    )
    listed = ", ".join(f"{1000 * s:.0f} ms after {n}" for n, s in suggestions().items())
    print(f"scale: measured: a suggestion by TPE: {listed} trials")
    for mean in MEANS:
        ours = simulated(takes, mean)
        free = simulated(Takes(0, takes.requests, takes.compactor), mean)
        rate = takes.requests * TRIALS / ours.seconds
        print(
            f"scale: {TRIALS:,} trials of {mean:g} s on {GPUS:,} GPUs: {ours.seconds / 3600:.1f} h,"
            f" GPUs busy {100 * ours.busy:.0f} %; requests {rate:.1f} per second, at most"
            f" {ours.peak:.0f}; at most {ours.waiting} attempts to compact;"
            f" ratio {ours.seconds / free.seconds:.2f}"
        )
    size = PARAMETERS * BYTES
    print(
        f"scale: a checkpoint of {PARAMETERS:,} parameters is {size / 1e9:.1f} GB; {GPUS:,} of them"
        f" every {INTERVAL:g} s are {GPUS * size / INTERVAL / 1e9:.1f} GB per second"
    )


def simulated(takes: Takes, mean: float, trials: int = TRIALS, gpus: int = GPUS) -> Study:
    """Simulate trials in order, each on the first free GPU."""
    scale = mean / np.exp(SPREAD**2 / 2)
    runs = scale * np.random.default_rng(0).lognormal(0, SPREAD, trials)
    free, driver, compactor = [0.0] * gpus, 0.0, 0.0
    ends: list[float] = []
    for seconds in runs.tolist():
        driver = max(heapq.heappop(free), driver) + takes.driver
        ends.append(driver + seconds)
        heapq.heappush(free, ends[-1])
    ends.sort()
    done: list[float] = []
    for end in ends:
        compactor = max(end, compactor) + takes.compactor
        done.append(compactor)
    behind = np.arange(1, trials + 1) - np.searchsorted(done, ends)
    busiest = Counter(int(end) for end in ends).most_common(1)[0][1]
    busy = float(runs.sum()) / (gpus * ends[-1])
    return Study(ends[-1], busy, busiest * takes.requests, int(behind.max()))


def driver_seconds() -> float:
    """Return the seconds per trial of a sweep of trials that do nothing, on all cores.

    This is an upper bound for the driver, because the trials share its CPUs.
    """
    with tempfile.TemporaryDirectory() as store:
        return in_new_process(partial(with_segprint, store, SWEPT)).seconds / SWEPT


def requests() -> float:
    """Return the requests to a real S3 server per commit of an attempt."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as env:
        os.environ |= env
        server = urlsplit(env["AWS_ENDPOINT_URL"])
        with Proxy(str(server.hostname), int(server.port or 0)) as proxy:
            os.environ["AWS_ENDPOINT_URL"] = proxy.url
            aws_chain.cache_clear()  # cached credentials bypass the proxy
            ledger = Ledger(Store(f"s3://{BUCKET}/scale"))
            commit(ledger, True, "first")  # connects
            before = proxy.requests.total()
            for i in range(COMMITTED):
                commit(ledger, True, f"d{i}")
            return (proxy.requests.total() - before) / COMMITTED


def seconds_to_compact() -> float:
    """Return the seconds per attempt to compact many attempts on disk."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Store(folder))
        for i in range(COMPACTED):
            commit(ledger, True, f"d{i:03d}")
        began = time.perf_counter()
        compaction.compact_committed(ledger.store)
        return (time.perf_counter() - began) / COMPACTED


def suggestions() -> dict[int, float]:
    """Return the seconds per suggestion, by the number of known trials."""
    assert SPACE.search is not None
    cell = next(cell for cell in check(SPACE) if cell.searched)
    search = CellSearch(cell, [], SPACE.search)
    draws, took = np.random.default_rng(0), dict[int, float]()
    for i in range(max(ASKED) + 10):
        began = time.perf_counter()
        values: Any = search.ask(str(i))
        for known in ASKED:
            if known <= i < known + 10:
                took[known] = took.get(known, 0.0) + (time.perf_counter() - began) / 10
        assert values is not None
        search.tell(str(i), "finished", Standing((float(draws.random()),)))
    return took


if __name__ == "__main__":
    main()
