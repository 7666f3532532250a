"""Random tables read back the same from every format."""

from __future__ import annotations

import re
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.views.sql_sandbox import Sandbox
from orchestrator.views.table_formats import FORMATS
from tests.unit.test_output import strict

# -- random tables --------------------------------------------------------------------------------

TEXT = "'\x1b[1m=|\n\"é漢,'"
VALUES = {
    "TINYINT": ["-128", "127"],
    "UBIGINT": ["18446744073709551615"],
    "BIGINT": ["-9223372036854775808", "0"],
    "HUGEINT": ["12345678901234567890123456789", "-1"],
    "DECIMAL(38,10)": ["1234567890123456789012345678.0123456789", "-0.5"],
    "DECIMAL(4,1)": ["0.5", "-99.9"],
    "DOUBLE": ["'nan'", "'inf'", "-0.0", "0.1"],
    "REAL": ["'-inf'", "0.5"],
    "BOOLEAN": ["true", "false"],
    "DATE": ["'2020-02-29'", "'0001-01-01'"],
    "TIME": ["'23:59:59.000001'"],
    "TIMESTAMP": ["'2020-02-29 01:02:03.000004'"],
    "TIMESTAMP_NS": ["'2020-02-29 01:02:03.123456789'"],
    "TIMESTAMPTZ": ["'2020-02-29 01:02:03+05'"],
    "INTERVAL": ["'1 month 2 days 00:00:03'", "'-00:00:01'"],
    "INTEGER[]": ["[1, NULL]", "[]"],
    "STRUCT(a INTEGER, b VARCHAR)": ["{'a': 1, 'b': '=x'}"],
    "MAP(VARCHAR, DOUBLE)": ["MAP {'k': 'nan'::DOUBLE}"],
    "INTERVAL[]": ["[INTERVAL 1 DAY]"],
    "BLOB": ["'\\x00ab'"],
    "BIT": ["'101'"],
    "UUID": ["'00000000-0000-0000-0000-000000000001'"],
    "ENUM('a', 'b')": ["'a'"],
    "VARCHAR": ["''", "'=1+1'", "'nan'", "'0042'", "'it''s'", "'[red]x'", "'a|b'", "'a,b'"],
    "UNION(i INTEGER, s VARCHAR)": ["1"],
}
NAMES = st.sampled_from(["x", "X", "x_1", "a b", "a|b", "[red]", "=1", "é", "digest", "a,b"])


@st.composite
def selects(draw: st.DrawFn) -> tuple[str, list[str], list[list[str]]]:
    """A SELECT of random columns: its SQL, its types, and DuckDB's own text of each value."""
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=6))
    names = [draw(NAMES) for _ in kinds]
    lines = [
        [
            draw(st.sampled_from([*VALUES[kind], *["NULL"] * (kind[:5] != "UNION")]))
            for kind in kinds
        ]
        for _ in range(draw(st.integers(1, 3)))
    ]
    rows = [
        ", ".join(
            f'({value})::{kind} AS "{name}"'
            for value, kind, name in zip(line, kinds, names, strict=True)
        )
        for line in lines
    ]
    return " UNION ALL ".join(f"SELECT {row}" for row in rows), kinds, lines


@pytest.mark.slow
@given(selects())
def test_random_tables_read_back_from_every_format(
    tables: tuple[str, list[str], list[list[str]]],
) -> None:
    sql, kinds, lines = tables
    table = Sandbox([], lambda _connection, _name: []).table(sql, hard=False)
    names = table.column_names
    assert len({name.lower() for name in names}) == table.num_columns == len(kinds)
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        texts = connection.sql(
            " UNION ALL ".join(
                "SELECT "
                + ", ".join(
                    f"({v})::{k}::VARCHAR AS c{i}"
                    for i, (v, k) in enumerate(zip(line, kinds, strict=True))
                )
                for line in lines
            )
        ).fetchall()
        _parquet_agrees(connection, FORMATS["parquet"](table), names, kinds, texts)
    rows = strict(FORMATS["json"](table).decode())
    assert [list(row) for row in rows] == [names] * len(lines)
    frame = pd.read_csv(
        pa.BufferReader(FORMATS["csv"](table)),
        dtype=str,
        keep_default_na=False,
        skip_blank_lines=False,
    )
    assert frame.shape == (len(lines), len(kinds))
    for i, kind in enumerate(kinds):
        for j, row in enumerate(rows):
            _json_agrees(row[names[i]], kind, texts[j][i])
            if kind in ("VARCHAR", "UUID", "INTERVAL", "TINYINT", "HUGEINT", "DECIMAL(38,10)"):
                assert str(frame.iloc[j, i]).removeprefix("'") == (texts[j][i] or "")
    markdown = FORMATS["markdown"](table).decode().splitlines()
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in markdown]
    assert bars == [len(kinds) + 1] * (len(lines) + 2)


def _parquet_agrees(
    connection: duckdb.DuckDBPyConnection,
    content: bytes,
    names: list[str],
    kinds: list[str],
    texts: list[tuple[Any, ...]],
) -> None:
    connection.register("read", pq.read_table(pa.BufferReader(content)))
    read = connection.view("read")
    assert read.columns == names
    columns = [f"c{i}" for i in range(len(names))]
    back = connection.sql(
        "SELECT "
        + ", ".join(f"{c}::{k}::VARCHAR" for c, k in zip(columns, kinds, strict=True))
        + f" FROM read AS t({', '.join(columns)})"
    ).fetchall()
    assert back == texts


def _json_agrees(value: Any, kind: str, text: str | None) -> None:
    """Numbers are equal; NaN and infinity are null; texts are DuckDB's."""
    if text is None or (text in ("nan", "inf", "-inf") and kind in ("DOUBLE", "REAL")):
        assert value is None
    elif kind in ("DOUBLE", "REAL", "DECIMAL(4,1)"):
        assert value == float(text)
        assert str(value)[0] == "-" or text[0] != "-"
    elif kind in ("TINYINT", "UBIGINT", "BIGINT", "HUGEINT"):
        assert value == int(text)
    elif kind in ("VARCHAR", "INTERVAL", "UUID", "BIT"):
        assert value == text
