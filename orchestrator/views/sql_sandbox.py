"""A sandbox for SQL: one SELECT at a time over named views, without access to anything else.

A query can change nothing, and reaches neither other files nor the network. Its time and its
memory are limited.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, cast

import duckdb
import pyarrow as pa
from duckdb.sqltypes import VARCHAR, DuckDBPyType

from orchestrator.formatting import nearest
from orchestrator.ledger.parquet import fields
from orchestrator.views.process_limits import limited
from orchestrator.views.table_formats import distinct

QUERY_SECONDS = 60.0
GRACE_SECONDS = 5.0
"""A query that runs on for longer after its interruption cannot be interrupted."""
QUERY_MEMORY = "2GB"
HARD_MEMORY = 3 << 30
"""Bytes by which the process may grow: DuckDB's memory, and the result."""
CONFIG: dict[str, Any] = {
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": QUERY_MEMORY,
    "temp_directory": "",  # nothing spills to disk
}
READING_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
"""Nodes of a parsed query that only read."""
LISTING = re.compile(r"\s*(\.tables|show\s+(all\s+)?(tables|views))[\s;]*", re.IGNORECASE)
"""How people ask for the names of the views."""
SCHEMA_OF = re.compile(
    r"\s*(\.schema|\.columns|desc|show\s+columns\s+(from|in))\s+(?P<name>\w+)[\s;]*",
    re.IGNORECASE,
)
"""How people ask for the columns of a view, besides ``DESCRIBE``."""
WITHOUT_ARROW = {
    *("interval", "bit", "bignum", "varint", "time with time zone", "union", "variant"),
    *("geometry",),
}
"""Types of DuckDB whose values Arrow, Parquet or Python lack."""

Attach = Callable[[duckdb.DuckDBPyConnection, str], list[str]]
"""Creates the view of a name in a connection; returns the paths of the files that it reads."""


class QueryError(ValueError):
    """The SQL is wrong, not allowed, or took too long."""


class Sandbox:
    """Queries over the views of some ``names``, which ``attach`` creates when one names them."""

    def __init__(self, names: Sequence[str], attach: Attach) -> None:
        self._names, self._attach = list(names), attach
        self._connections: dict[tuple[str, ...], duckdb.DuckDBPyConnection] = {}
        self._one_query = threading.Lock()

    def relation(self, query: str) -> duckdb.DuckDBPyRelation:
        """Return the lazy relation of one SELECT.

        Raises:
            QueryError: the SQL is wrong, is not one SELECT, or names anything but the views.
        """
        with self._one_query, _query_errors(self._names):
            select = self._select(query)
            return self._connect(self._views_in(select)).sql(select)

    def table(self, query: str, *, hard: bool) -> pa.Table:
        """Return the rows of one SELECT, which may take :data:`QUERY_SECONDS`.

        ``hard``: a query that cannot be interrupted ends the process
        (:mod:`orchestrator.views.process_limits`).

        Raises:
            QueryError: as of :meth:`relation`, or the query took too long.
        """
        with self._one_query, _query_errors(self._names):
            select = self._select(query)
            views = self._views_in(select)
            if views not in self._connections:  # opening files takes longer than most queries
                self._connections[views] = self._connect(views)
            connection = self._connections[views]
            timer = threading.Timer(QUERY_SECONDS, connection.interrupt)
            timer.start()
            try:
                with limited("query", QUERY_SECONDS + GRACE_SECONDS, HARD_MEMORY, hard=hard):
                    return _table(connection, select)
            finally:
                timer.cancel()

    def _select(self, query: str) -> str:
        """Return the one SELECT that a query is, or that answers a question for the views.

        ``SHOW TABLES`` in DuckDB would list only the views that its connection has.
        """
        if LISTING.fullmatch(query):
            names = ", ".join(f"('{name}')" for name in self._names)
            return f"SELECT name FROM (VALUES {names}) AS views(name)"  # noqa: S608
        schema = SCHEMA_OF.fullmatch(query)
        return _one_select(self._parser, f"DESCRIBE {schema['name']}" if schema else query)

    def _views_in(self, query: str) -> tuple[str, ...]:
        """Return the views whose names are among the words of a query."""
        words = set(re.findall(r"\w+", query.lower()))
        return tuple(name for name in self._names if name in words)

    def _connect(self, views: tuple[str, ...]) -> duckdb.DuckDBPyConnection:
        """Return a connection that has some views, and access to their files only."""
        connection = duckdb.connect(":memory:", config=CONFIG)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET parquet_metadata_cache = true")  # the files never change
        files = [file for name in views for file in self._attach(connection, name)]
        connection.execute("SET allowed_paths = $files", {"files": files})
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return connection

    @cached_property
    def _parser(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(":memory:", config=CONFIG)


@contextmanager
def _query_errors(views: list[str]) -> Generator[None]:
    """Raise DuckDB's errors as :class:`QueryError`, without the lines that quote the query."""
    try:
        yield
    except duckdb.InterruptException:
        raise QueryError(f"query: stopped after {QUERY_SECONDS:.0f} s") from None
    except duckdb.Error as error:
        lines = str(error).partition("\n\nLINE ")[0].splitlines()
        what = _reason([line for line in lines if line], views)
        choices = (
            f" (views: {', '.join(views)})" if isinstance(error, duckdb.CatalogException) else ""
        )
        raise QueryError(f"query: {what}{choices}") from None


def _reason(lines: list[str], views: list[str]) -> str:
    """Return DuckDB's reason, with the nearest view or columns where a name is unknown."""
    unknown = re.search("Table with name (.+) does not exist", lines[0])
    hint = nearest(unknown[1], views) if unknown else ""
    if hint:
        return lines[0].rstrip("!") + hint
    candidates = [line for line in lines[1:] if line.startswith("Candidate bindings")]
    return "; ".join([lines[0], *(c.replace(": :", ":") for c in candidates)])


def _one_select(parser: duckdb.DuckDBPyConnection, query: str) -> str:
    """Return a query if it is one statement that only reads; a table expression may hold a COPY."""
    statements = parser.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryError("query: exactly one SELECT or DESCRIBE is allowed")
    select = statements[0].query
    tree = parser.execute("SELECT json_serialize_sql(?::VARCHAR)", [select]).fetchall()[0][0]
    kinds = {str(node.get("type")) for node in _nodes(json.loads(tree))}
    forbidden = sorted(k for k in kinds if k.endswith("_NODE") and k not in READING_NODES)
    if forbidden or '"error":true' in tree:
        raise QueryError(f"query: only a SELECT is allowed {forbidden}")
    return select


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a JSON value."""
    if isinstance(value, dict):
        node = cast("dict[str, Any]", value)
        yield node
        value = list(node.values())
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _nodes(item)


def _table(connection: duckdb.DuckDBPyConnection, select: str) -> pa.Table:
    """Return the rows of a SELECT; every column has a name of its own.

    Values of types that Arrow, Parquet or Python lack, such as intervals, are texts.
    """
    relation = connection.sql(select)
    names, types = distinct(relation.columns), list(relation.types)
    kept = [_kept(kind) for kind in types]
    if kept != types:
        columns = [f"c{i}" for i in range(len(types))]
        casts = [f"{c}::{k}" if k != t else c for c, k, t in zip(columns, kept, types, strict=True)]
        rows = f"({select}\n) AS rows({', '.join(columns)})"
        relation = connection.sql(f"SELECT {', '.join(casts)} FROM {rows}")  # noqa: S608 - parsed
    return _with_64_bit_integers(relation.to_arrow_table().rename_columns(names))


def _kept(kind: DuckDBPyType) -> DuckDBPyType:
    """Return the type as which values are read: texts in place of :data:`WITHOUT_ARROW`."""
    if kind.id in WITHOUT_ARROW:
        return VARCHAR
    if kind.id not in ("list", "array", "struct", "map"):
        return kind
    children = cast("dict[str, DuckDBPyType]", dict(kind.children))
    if kind.id == "struct":
        return duckdb.struct_type({name: _kept(child) for name, child in children.items()})
    if kind.id == "map":
        return duckdb.map_type(_kept(children["key"]), _kept(children["value"]))
    return duckdb.list_type(_kept(children["child"]))


def _with_64_bit_integers(table: pa.Table) -> pa.Table:
    """Cast the sums of integers, which DuckDB returns with 128 bits; few programs read those.

    A column with a larger integer stays as it is.
    """
    for i, f in enumerate(fields(table.schema)):
        if pa.types.is_decimal(f.type) and f.type.scale == 0:
            with suppress(pa.ArrowInvalid):
                table = table.set_column(i, f.name, table.column(i).cast(pa.int64()))
    return table
