"""Everything committed, as views: SQL, DuckDB, Arrow, pandas, Polars; read-only and sandboxed."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any, cast

import duckdb
import pyarrow as pa

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.studies import Declared
from orchestrator.tables.snapshot import Snapshot, Source
from orchestrator.views.process_limits import limited
from orchestrator.views.result_cache import once
from trainables.part import unknown
from trainables.schemas import SCHEMAS

QUERY_SECONDS = 60.0
GRACE_SECONDS = 5.0
"""After which a query that did not stop is one that cannot."""
QUERY_MEMORY = "2GB"
HARD_MEMORY = 3 << 30
"""Bytes by which a process may grow: DuckDB's, and the result's."""


class QueryError(ValueError):
    """The SQL is wrong, not allowed, or took too long."""


Analysis = Callable[["Catalog"], pa.Table]
"""Computes the rows of one view from the other views."""


class Catalog:
    """Views by name: the ledger's tables, ``studies``, and the ``analyses`` that it is given."""

    def __init__(
        self,
        ledger: Ledger,
        analyses: Mapping[str, Analysis],
        studies: tuple[str, ...] = (),
        version: int | None = None,
    ) -> None:
        self.ledger, self.studies, self._analyses = ledger, studies, analyses
        self.snapshot = Snapshot(ledger.store, version)
        self._read: dict[str, pa.Table] = {}
        self._sources: dict[str, Source] = {}
        self._connections: dict[tuple[str, ...], duckdb.DuckDBPyConnection] = {}
        self._asking = threading.Lock()

    def names(self) -> list[str]:
        """Names of all views."""
        return [*SCHEMAS, "studies", *self._analyses]

    def __getitem__(self, name: str) -> pa.Table:
        """A view's rows, read once.

        Raises:
            ValueError: there is no such view.
        """
        if name not in self._read:
            if name in SCHEMAS:
                self._read[name] = self.snapshot.table(name, self._digests)
            elif name == "studies":
                self._read[name] = self._studies(self._declared())
            elif name in self._analyses:
                self._read[name] = self._computed(name)
            else:
                raise unknown("view", name, self.names())
        return self._read[name]

    def _computed(self, name: str) -> pa.Table:
        """An analysis's rows; kept for the next command, unless something is damaged."""
        attempts = self["trials"].select(["digest", "attempt"])
        compute = partial(self._analyses[name], self)
        return once(name, [attempts, self["studies"]], compute, lambda: not self.snapshot.problems)

    @cached_property
    def _digests(self) -> set[str] | None:
        """The digests of the chosen studies; None for all that is committed."""
        if not self.studies:
            return None
        return {d.digest for d in self._declared()}

    def _declared(self) -> list[Declared]:
        return [d for study in self.studies or (None,) for d in self.ledger.studies.current(study)]

    def ever(self, study: str) -> pa.Table:
        """Rows as of ``studies``, for every revision that a study ever had."""
        return self._studies(self.ledger.studies.declared(study))

    def _studies(self, chosen: list[Declared]) -> pa.Table:
        """One row per declared trial: which study wanted it, and as what."""
        about = self.ledger.studies.declarations(chosen)
        rows = [
            {
                "study": d.study,
                "cell": d.cell,
                "arm": about[d.key]["arm"],
                "stage": d.stage,
                "index": d.index,
                "digest": d.digest,
                "config": json.dumps(about[d.key]["config"], sort_keys=True),
                "searched": json.dumps(about[d.key]["values"], sort_keys=True),
            }
            for d in chosen
        ]
        return pa.Table.from_pylist(rows, schema=STUDIES)

    def relation(self, query: str) -> duckdb.DuckDBPyRelation:
        """One SELECT over the views, lazily: ``.df()``, ``.pl()``, ``.arrow()``, ``.filter()``...

        It cannot change anything, nor reach other files or the network; its memory is bounded.

        Raises:
            QueryError: bad SQL, anything but a SELECT, or a look outside the views.
        """
        with self._asking, _told(self.names()):
            select = _one_select(self._parser, query)
            return self._shut_in(self._named(select)).sql(select)

    def sql(self, query: str, *, hard: bool = False) -> pa.Table:
        """One SELECT over the views, at most :data:`QUERY_SECONDS` long.

        ``hard``: a query that cannot be interrupted ends the process
        (:mod:`orchestrator.views.process_limits`).

        Raises:
            QueryError: bad SQL, anything but a SELECT, a look outside the views, or a time-out.
        """
        with self._asking, _told(self.names()):
            select = _one_select(self._parser, query)
            views = self._named(select)
            if views not in self._connections:  # opening files costs more than most questions
                self._connections[views] = self._shut_in(views)
            connection = self._connections[views]
            timer = threading.Timer(QUERY_SECONDS, connection.interrupt)
            timer.start()
            try:
                with limited("query", QUERY_SECONDS + GRACE_SECONDS, HARD_MEMORY, hard=hard):
                    return _whole_numbers(connection.sql(select).to_arrow_table())
            finally:
                timer.cancel()

    def _named(self, query: str) -> tuple[str, ...]:
        """The views that a query may mean."""
        words = set(re.findall(r"\w+", query.lower()))
        return tuple(name for name in self.names() if name in words)

    @cached_property
    def _parser(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(":memory:", config=_LIMITS)

    def attach(self, connection: duckdb.DuckDBPyConnection, name: str) -> list[str]:
        """Make a view of this name, its rows left where they are; the files they are in."""
        if name not in SCHEMAS:
            connection.register(name, self[name])
            return []
        if name not in self._sources:
            self._sources[name] = self.snapshot.source(name, self._digests)
        source = self._sources[name]
        source.attach(connection, self._digests)
        return [str(path) for path in source.files]

    def _shut_in(self, views: tuple[str, ...]) -> duckdb.DuckDBPyConnection:
        """A connection with some views, and the door shut to every other file."""
        connection = duckdb.connect(":memory:", config=_LIMITS)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET parquet_metadata_cache = true")  # the files never change
        files = [file for name in views for file in self.attach(connection, name)]
        connection.execute("SET allowed_paths = $files", {"files": files})
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return connection


STUDIES = pa.schema(
    [
        ("study", pa.string()),
        ("cell", pa.string()),
        ("arm", pa.string()),
        ("stage", pa.string()),
        ("index", pa.int64()),
        ("digest", pa.string()),
        ("config", pa.string()),
        ("searched", pa.string()),
    ]
)
_LIMITS: dict[str, Any] = {
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": QUERY_MEMORY,
    "temp_directory": "",  # nothing spills to disk
}
_READING = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_ALLOWED = (duckdb.StatementType.SELECT,)


@contextmanager
def _told(views: list[str]) -> Generator[None]:
    """DuckDB's errors as one line; it goes on to quote the query and its own system tables."""
    try:
        yield
    except duckdb.InterruptException:
        raise QueryError(f"query: stopped after {QUERY_SECONDS:.0f} s") from None
    except duckdb.Error as error:
        what = str(error).partition("\n")[0]
        choices = (
            f" (views: {', '.join(views)})" if isinstance(error, duckdb.CatalogException) else ""
        )
        raise QueryError(f"query: {what}{choices}") from None


def _one_select(parser: duckdb.DuckDBPyConnection, query: str) -> str:
    """The query, if it only reads: a common table expression may hold a COPY."""
    statements = parser.extract_statements(query)
    if len(statements) != 1 or statements[0].type not in _ALLOWED:
        raise QueryError("query: exactly one SELECT or DESCRIBE is allowed")
    select = statements[0].query
    tree = parser.execute("SELECT json_serialize_sql(?::VARCHAR)", [select]).fetchall()[0][0]
    kinds = {str(node.get("type")) for node in _nodes(json.loads(tree))}
    strangers = sorted(k for k in kinds if k.endswith("_NODE") and k not in _READING)
    if strangers or '"error":true' in tree:
        raise QueryError(f"query: only a SELECT is allowed {strangers}")
    return select


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        yield found
        value = list(found.values())
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _nodes(item)


def _whole_numbers(table: pa.Table) -> pa.Table:
    """DuckDB sums integers to 128 bits, which few programs read; 64 hold any count."""
    fields = [
        f.with_type(pa.int64()) if pa.types.is_decimal(f.type) and f.type.scale == 0 else f
        for f in table.schema
    ]
    return table.cast(pa.schema(fields))
