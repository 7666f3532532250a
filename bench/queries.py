"""Queries of a store of 10,000 trials, against DuckDB on one sorted file per table, and MLflow.

The store is synthetic and local, with ten million rows of probes and calibration. Each trial is
committed separately; then the attempts are compacted and small files merged, as by a driver. A
count and ``segprint status`` are timed before that, after half of the attempts, and after all.
DuckDB reads the same rows from one sorted Parquet file per table, which it wrote itself, over a
connection that stays open: a lower bound for a store that never receives new rows. The answers must
agree.

Each side runs in its own process, and the two alternate. The files are not in the page cache at the
start: the first answer to a query is cold, the median of the next five is warm.
``SEGPRINT_BENCH_TRIALS`` sets another number of trials.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from bench import _mlflow, _store
from orchestrator import cli
from orchestrator.analyses import open_store
from orchestrator.ledger.commits import PREFIX
from orchestrator.storage.object_store import Store
from orchestrator.tables import batch_selection, compaction, delta_log, log_seal
from orchestrator.tables.compaction_log import TABLES
from orchestrator.views.catalog import Catalog
from trainables.schemas import SCHEMAS

TRIALS = int(os.environ.get("SEGPRINT_BENCH_TRIALS", "10000"))
WARM = 5
LEADERBOARD = """
    SELECT c.task, c.model, c.schedule, count(DISTINCT digest) AS trials,
           avg(2 * tp / (2 * tp + fp + fn)) AS dice, avg(t.device_seconds) AS device_seconds
    FROM cases c JOIN trials t USING (digest)
    WHERE t.outcome = 'finished' AND split = 'test' AND reading = 'sample'
    GROUP BY ALL ORDER BY ALL"""
ERROR = "avg(eps_error_sum / (draws * pixels)) FILTER (control = '{}')"
FINGERPRINT = f"""
    SELECT task, axis, bin, {ERROR.format("image")} AS error, {ERROR.format("dropped")} AS dropped,
           (dropped - error) / (2 * ln(2)) AS bits
    FROM probes GROUP BY ALL ORDER BY ALL"""
DIGEST = f"SELECT * FROM probes WHERE digest = '{_store.digest_of(7)}'"
STUDY = "study07"
STUDY_ROWS = "one study's rows"
OF_STUDY = (
    f"SELECT p.* FROM probes p SEMI JOIN studies s ON p.digest = s.digest AND study = '{STUDY}'"
)


QUESTIONS = {"leaderboard": LEADERBOARD, "fingerprint": FINGERPRINT, "one digest's rows": DIGEST}
PER_TRIAL = """
    SELECT t.*, avg(2 * tp / (2 * tp + fp + fn)) AS dice
    FROM trials t LEFT JOIN cases c ON t.digest = c.digest AND c.split = 'test'
    GROUP BY ALL"""


def main() -> None:
    """Print the cost of compaction, then the seconds and ratios of the queries."""
    with tempfile.TemporaryDirectory() as folder:
        url, plain = f"{folder}/store", Path(folder) / "sorted"
        _store.generate(Path(url), TRIALS)
        print(f"queries: {TRIALS} trials: {listed(f'{url}/commits', f'{url}/trials')}")
        compactor = Side(partial(compactor_of, url))
        took = {0: from_shell(folder, url)}
        for name, share in (("compacting half", 50), ("compacting the rest", 100)):
            seconds, _ = compactor.ask(name)
            print(f"queries: {name}: {seconds:.0f} s, at most {compactor.peak():.0f} MiB in memory")
            took[share] = from_shell(folder, url)
        for name in took[100]:
            seconds = {share: of_share[name] for share, of_share in took.items()}
            ratios = [
                f"{s:.2f} s at {n} % (ratio {s / seconds[100]:.1f})" for n, s in seconds.items()
            ]
            print(f"queries: {name}, by the share that is compacted: {', '.join(ratios)}")
        seconds, _ = compactor.ask("merging")
        print(f"queries: merging: {seconds:.0f} s, at most {compactor.peak():.0f} MiB in memory")
        tables = listed(*(f"{url}/{file.key}" for file in files_of(url)))
        print(f"queries: tables: {tables}; below tables/, {listed(f'{url}/tables')}")
        one_file_each(url, plain)
        ask_all(folder, url, plain)


def ask_all(folder: str, url: str, plain: Path) -> None:
    """Print the seconds of each query on both sides."""
    forget(folder)
    ours, theirs = Side(partial(our_questions, url)), Side(partial(their_questions, plain))
    for name in OPENING:
        print(f"queries: {name}: {', then '.join(f'{ours.ask(name)[0]:.3f} s' for _ in 'ab')}")
    warm: dict[str, float] = {}
    for name in (*QUESTIONS, STUDY_ROWS):
        took: list[tuple[float, float]] = []
        for _ in range(1 + WARM):
            (mine, answer), (other, expected) = ours.ask(name), theirs.ask(name)
            took.append((mine, other))
            pd.testing.assert_frame_equal(answer, expected)
        warm[name], other = (statistics.median(t[side] for t in took[1:]) for side in (0, 1))
        print(
            f"queries: {name}: ours {warm[name]:.3f} s, DuckDB {other:.3f} s,"
            f" ratio {warm[name] / other:.2f}; first {took[0][0]:.3f} s and {took[0][1]:.3f} s,"
            f" ratio {took[0][0] / took[0][1]:.2f}"
        )
    print(f"queries: peak memory: ours {ours.peak():.0f} MiB, DuckDB {theirs.peak():.0f} MiB")
    processes(url, plain)
    if importlib.util.find_spec("mlflow") is None:
        print("queries: MLflow is not installed here and is omitted")
        return
    logged = open_store(url).sql(PER_TRIAL).to_pandas()
    seconds = _mlflow.search_seconds(logged, ours.ask("leaderboard")[1], Path(folder))
    first, _ = Side(partial(our_questions, url)).ask("open_store and leaderboard")
    print(
        f"queries: leaderboard by mlflow.search_runs: {seconds:.2f} s,"
        f" ours {warm['leaderboard']:.3f} s, ratio {seconds / warm['leaderboard']:.0f};"
        f" with open_store, in a new process, {first:.3f} s, ratio {seconds / first:.0f}"
    )


Questions = dict[str, Callable[[], Any]]


class Side:
    """A process that answers the queries of one side."""

    def __init__(self, make: Callable[[], Questions]) -> None:
        context = multiprocessing.get_context("spawn")
        self._process = ProcessPoolExecutor(1, context, initializer=_begin, initargs=(make,))

    def ask(self, name: str) -> tuple[float, pd.DataFrame]:
        """Return the seconds and the answer; of a long answer, its number of rows."""
        return self._process.submit(_answer, name).result()

    def peak(self) -> float:
        """Return the peak memory of the process so far, in MiB."""
        return self._process.submit(_peak).result()


def _begin(make: Callable[[], Questions]) -> None:
    globals()["_questions"] = make()


def _answer(name: str) -> tuple[float, pd.DataFrame]:
    question = globals()["_questions"][name]
    began = time.perf_counter()
    found = question()
    seconds = time.perf_counter() - began
    if not isinstance(found, pa.Table) or found.num_rows > 1000:
        return seconds, pd.DataFrame({"rows": [getattr(found, "num_rows", None)]})
    return seconds, found.to_pandas()


def _peak() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def listed(*places: str) -> str:
    """Return the number and total size of the files at or below some paths."""
    files = [p for place in map(Path, places) for p in (place, *place.rglob("*")) if p.is_file()]
    return f"{len(files)} files of {sum(p.stat().st_size for p in files) / 2**20:.0f} MiB"


def from_shell(folder: str, url: str) -> dict[str, float]:
    """Return the seconds of a count and of a study's status, as a new process answers them."""
    forget(folder)
    side = Side(partial(shell_questions, url))
    took = {name: side.ask(name) for name in ("opening", "count of all cases", "status")}
    (cases,) = took["count of all cases"][1]["cases"]
    assert cases == (TRIALS - TRIALS // 50) * (_store.TEST + _store.VAL), cases
    return {name: seconds for name, (seconds, _) in took.items()}


def shell_questions(url: str) -> Questions:
    """Return what a user asks of a store that may not be compacted."""

    def status() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            assert cli.main(["--store", url, "status", STUDY]) == 0

    return {
        "opening": lambda: open_store(url),
        "count of all cases": lambda: open_store(url).sql("SELECT count(*) AS cases FROM cases"),
        "status": status,
    }


def compactor_of(url: str) -> Questions:
    """Return what a driver does after each round, here for all attempts at once."""
    store = Store(url)
    return {
        "compacting half": partial(compact_half, store),
        "compacting the rest": partial(compaction.compact_committed, store),
        "merging": partial(compaction.merge_small_files, store),
    }


def compact_half(store: Store) -> None:
    """Append batches until the tables have half of the trials."""
    batch_selection.MOST_COMMITS = TRIALS // 10
    attempts = 0
    while attempts < TRIALS // 2 and (found := batch_selection.next_batch(store)) is not None:
        batch, rows = found
        for name in TABLES:
            compaction.append(store, name, batch, rows)
        attempts += len(batch.members)


def files_of(url: str) -> list[log_seal.DataFile]:
    """Return the data files of the tables."""
    states = [delta_log.load(Store(url), name) for name in SCHEMAS]
    return [file for state in states if state is not None for file in state.files]


def one_file_each(url: str, folder: Path) -> None:
    """Write the same rows as one sorted file per table, for DuckDB."""
    folder.mkdir()
    tables = open_store(url)
    with duckdb.connect() as connection:
        for name in ("trials", "cases", "probes", "studies"):
            tables.attach(connection, name)
            order = "study, digest" if name == "studies" else ", ".join(compaction.SORT_COLUMNS)
            at = f"'{folder}/{name}.parquet'"
            connection.execute(f"COPY (FROM {name} ORDER BY {order}) TO {at} (COMPRESSION zstd)")


def forget(folder: str) -> None:
    """Remove the files from the page cache."""
    os.sync()
    for path in Path(folder).rglob("*.parquet"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


OPENING = ("listing commits", "opening Delta tables", "open_store", "open_store, one study")


def our_questions(url: str) -> Questions:
    """Return the queries through ``open_store``."""
    held: dict[str, Catalog] = {}
    return {
        "listing commits": lambda: Store(url).list(PREFIX),
        "opening Delta tables": lambda: files_of(url),
        "open_store": lambda: held.update(all=open_store(url)),
        "open_store, one study": lambda: held.update(one=open_store(url, STUDY)),
        "open_store and leaderboard": lambda: open_store(url).sql(LEADERBOARD),
        STUDY_ROWS: lambda: held["one"].sql("SELECT * FROM probes"),
        **{name: lambda q=q: held["all"].sql(q) for name, q in QUESTIONS.items()},
    }


def their_questions(folder: Path) -> Questions:
    """Return the queries over one DuckDB connection, which caches metadata of the files."""
    connection = duckdb.connect()
    for path in folder.iterdir():
        connection.execute(f"CREATE VIEW {path.stem} AS FROM '{path}'")
    asked = {**QUESTIONS, STUDY_ROWS: OF_STUDY}
    return {name: lambda q=q: connection.sql(q).to_arrow_table() for name, q in asked.items()}


def processes(url: str, folder: Path) -> None:
    """Print the seconds of the leaderboard by a new process, as from a shell."""
    views = "".join(f"CREATE VIEW {n} AS FROM '{folder}/{n}.parquet';" for n in ("trials", "cases"))
    plain = f"import duckdb; duckdb.execute({views!r}); duckdb.sql({LEADERBOARD!r}).show()"
    ours = [sys.executable, "-m", "orchestrator.cli", "--store", url, "query", LEADERBOARD]
    commands = (ours, [sys.executable, "-c", plain])
    took = [[_run(command) for command in commands] for _ in range(WARM)]
    mine, other = (statistics.median(t[side] for t in took) for side in (0, 1))
    print(
        f"queries: segprint query, a whole process: {mine:.2f} s,"
        f" Python with DuckDB {other:.2f} s, ratio {mine / other:.2f}"
    )


def _run(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
