"""A study on 1,000 GPUs, simulated: what the driver, the store and the folder do to it.

What each of them takes for one trial is measured here first, on this machine; then every trial of
the study is an event: it waits for the driver, which hands out one at a time, runs for a lognormal
time, writes its attempt, and its GPU asks for the next. One process folds what was written. Each
study is compared with one whose driver takes no time. Waiting for a slow store, lost nodes and
checkpoints are not in it: what checkpoints take is arithmetic.
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
from bench.sweeps import apart, swept
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.cells import check
from orchestrator.planning.selection import Standing
from orchestrator.search.optuna_search import CellSearch
from orchestrator.storage.credentials import aws_chain
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction
from search_spaces.noise_search import SPACE
from tests.faults.proxy import Proxy
from tests.server import BUCKET, serving

TRIALS, GPUS, SPREAD = 100_000, 1000, 0.3
MEANS = (60.0, 300.0, 3600.0)
"""Seconds of a trial."""
SWEPT, COMMITTED, FOLDED, ASKED = 300, 5, 200, (0, 250, 1000)
PARAMETERS, BYTES, INTERVAL = 113_674_370, 20, 600.0
"""Of `ensemdiff` as published; of float32 weights, their mean, the best of it and Adam's two;
seconds between."""


@dataclass(frozen=True)
class Takes:
    """What one trial takes of what all trials share."""

    driver: float
    """Seconds."""
    requests: float
    """To the store, at its end."""
    folder: float
    """Seconds."""


@dataclass(frozen=True)
class Study:
    """What a simulated one took."""

    seconds: float
    busy: float
    """The share of the GPUs' time in trials."""
    peak: float
    """Requests in the busiest second."""
    waiting: int
    """Attempts that wait to be folded, at most."""


def main() -> None:
    """Print what was measured, then each study with its ratio to one without orchestration."""
    takes = Takes(handed_out(), requests(), folded())
    print(
        f"scale: measured: driver {1000 * takes.driver:.0f} ms a trial, {takes.requests:g} requests"
        f" an attempt, folding {1000 * takes.folder:.0f} ms an attempt"
    )
    told = ", ".join(f"{1000 * s:.0f} ms after {n}" for n, s in asked().items())
    print(f"scale: measured: a suggestion by TPE: {told} trials")
    for mean in MEANS:
        ours = simulated(takes, mean)
        free = simulated(Takes(0, takes.requests, takes.folder), mean)
        rate = takes.requests * TRIALS / ours.seconds
        print(
            f"scale: {TRIALS:,} trials of {mean:g} s on {GPUS:,} GPUs: {ours.seconds / 3600:.1f} h,"
            f" GPUs busy {100 * ours.busy:.0f} %; requests {rate:.1f} a second, at most"
            f" {ours.peak:.0f}; at most {ours.waiting} attempts unfolded;"
            f" ratio {ours.seconds / free.seconds:.2f}"
        )
    size = PARAMETERS * BYTES
    print(
        f"scale: a checkpoint of {PARAMETERS:,} parameters is {size / 1e9:.1f} GB; {GPUS:,} of them"
        f" every {INTERVAL:g} s are {GPUS * size / INTERVAL / 1e9:.1f} GB a second"
    )


def simulated(takes: Takes, mean: float, trials: int = TRIALS, gpus: int = GPUS) -> Study:
    """Trials in order, each on the GPU that is free first."""
    scale = mean / np.exp(SPREAD**2 / 2)
    runs = scale * np.random.default_rng(0).lognormal(0, SPREAD, trials)
    free, driver, folder = [0.0] * gpus, 0.0, 0.0
    ends: list[float] = []
    for seconds in runs.tolist():
        driver = max(heapq.heappop(free), driver) + takes.driver
        ends.append(driver + seconds)
        heapq.heappush(free, ends[-1])
    ends.sort()
    done: list[float] = []
    for end in ends:
        folder = max(end, folder) + takes.folder
        done.append(folder)
    behind = np.arange(1, trials + 1) - np.searchsorted(done, ends)
    busiest = Counter(int(end) for end in ends).most_common(1)[0][1]
    busy = float(runs.sum()) / (gpus * ends[-1])
    return Study(ends[-1], busy, busiest * takes.requests, int(behind.max()))


def handed_out() -> float:
    """Seconds a trial of a whole sweep whose trials have nothing to do, on all cores: at most what
    its driver takes, since the trials run beside it.
    """
    with tempfile.TemporaryDirectory() as store:
        return apart(partial(swept, store, SWEPT)).seconds / SWEPT


def requests() -> float:
    """Of one whole attempt's commit, counted on their way to a real S3 server."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as env:
        os.environ |= env
        server = urlsplit(env["AWS_ENDPOINT_URL"])
        with Proxy(str(server.hostname), int(server.port or 0)) as proxy:
            os.environ["AWS_ENDPOINT_URL"] = proxy.url
            aws_chain.cache_clear()  # what it said before leads past the proxy
            ledger = Ledger(Store(f"s3://{BUCKET}/scale"))
            commit(ledger, True, "first")  # connects
            before = proxy.requests.total()
            for i in range(COMMITTED):
                commit(ledger, True, f"d{i}")
            return (proxy.requests.total() - before) / COMMITTED


def folded() -> float:
    """Seconds an attempt, of many at once from disk."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Store(folder))
        for i in range(FOLDED):
            commit(ledger, True, f"d{i:03d}")
        began = time.perf_counter()
        compaction.compact_committed(ledger.store)
        return (time.perf_counter() - began) / FOLDED


def asked() -> dict[int, float]:
    """Seconds a suggestion, by how many trials are known."""
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
