"""SQL of the live report: each query runs in a process of its own, in the sandbox of ``query``."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypedDict

from orchestrator.analyses import catalog
from orchestrator.formatting import plural, printable
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.views import sql_sandbox, table_formats
from orchestrator.views.catalog import Catalog
from orchestrator.views.sql_sandbox import QueryError

MOST_ROWS = 500
"""The rows that the page shows."""
MOST_CELL = 2000
"""The characters of a cell that the page shows."""


class Answer(TypedDict, total=False):
    """The result of a query as texts, or its error."""

    columns: list[str]
    rows: list[list[str]]
    summary: str
    error: str


class Queries:
    """Runs one query at a time; a query that ends its process by a limit ends nothing else."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._pool: ProcessPoolExecutor | None = None
        self._one_query = asyncio.Lock()

    async def answer(self, sql: str, version: str) -> Answer:
        """Return the rows of one SELECT over the views; ``version`` is that of the store."""
        async with self._one_query:
            if self._pool is None:
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, context, initializer=_ignore_interrupts)
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(self._pool, _answer, self._store, version, sql)
            except BrokenProcessPool:
                self.close()
                limit = sql_sandbox.QUERY_SECONDS + sql_sandbox.GRACE_SECONDS
                memory = sql_sandbox.HARD_MEMORY / 2**30
                return {"error": f"query: stopped at {limit:.0f} s or {memory:.0f} GiB of memory"}

    def close(self) -> None:
        """End the process, also in the middle of a query."""
        if self._pool is not None:
            for process in (self._pool._processes or {}).values():  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType] - Python 3.14 has kill_workers
                process.kill()  # pyright: ignore[reportUnknownMemberType]
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends this process


_catalogs: dict[str, Catalog] = {}
"""The catalog of the store's last version, in the process that runs the queries."""


def _answer(store: str, version: str, sql: str) -> Answer:
    if version not in _catalogs:
        _catalogs.clear()
        _catalogs[version] = catalog(Ledger(Store(store)))
    try:
        table = _catalogs[version].sql(sql, hard=True)
    except QueryError as error:
        return {"error": printable(str(error))}
    shown = table_formats.rows(table.slice(0, MOST_ROWS))
    rows = [["–" if value is None else _text(value) for value in row.values()] for row in shown]
    more = table.num_rows - len(shown)
    summary = plural(table.num_rows, "row") + (f", the first {len(shown)} shown" if more else "")
    return {
        "columns": [printable(name) for name in table.column_names],
        "rows": rows,
        "summary": summary,
    }


def _text(value: object) -> str:
    text = printable(table_formats.cell(value))
    return text if len(text) <= MOST_CELL else f"{text[:MOST_CELL]}…"
