"""Where the rows of a table are: data files, attempts' objects, and rows in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa


@dataclass(frozen=True)
class Source:
    """The rows of a table: data files, attempts' objects, and rows in memory."""

    name: str
    files: list[Path]
    attempts: set[str]
    """The attempts that count in the data files; rows of others are left out."""
    objects: list[Path]
    """Files that have only rows that count, in the current schema."""
    recent: pa.Table
    """The rows that no file has."""

    @property
    def paths(self) -> list[Path]:
        """All files that are read."""
        return [*self.files, *self.objects]

    def attach(self, connection: duckdb.DuckDBPyConnection, digests: set[str] | None) -> None:
        """Create a view with the table's name, with the rows of some digests, or of all (None)."""
        connection.register(f"_{self.name}_recent", self.recent)
        rows = connection.view(f"_{self.name}_recent")
        columns = [duckdb.ColumnExpression(name) for name in rows.columns]
        if self.objects:
            objects = connection.read_parquet(
                [str(path) for path in self.objects], hive_partitioning=False
            )
            rows = objects.select(*columns).union(rows) if self.recent.num_rows else objects
        if self.files:
            compacted = self._compacted(connection, digests)
            rows = compacted.union(rows) if self.objects or self.recent.num_rows else compacted
        rows.create_view(self.name)

    def _compacted(
        self, connection: duckdb.DuckDBPyConnection, digests: set[str] | None
    ) -> duckdb.DuckDBPyRelation:
        """Return the rows of the data files in the current schema; a missing column is null."""
        rows = connection.read_parquet(
            [str(p) for p in self.files], union_by_name=True, hive_partitioning=False
        )
        selections = {"attempt": self.attempts} | ({} if digests is None else {"digest": digests})
        for column, wanted in selections.items():
            view = f"_{self.name}_{column}"
            connection.register(view, pa.table({column: pa.array(wanted, pa.string())}))
            rows = rows.join(connection.view(view), column, how="semi")
        present = set(rows.columns)
        recent = connection.view(f"_{self.name}_recent")
        columns = [
            duckdb.ColumnExpression(name)
            if name in present
            else duckdb.ConstantExpression(None).cast(kind).alias(name)
            for name, kind in zip(recent.columns, recent.types, strict=True)
        ]
        return rows.select(*columns)
