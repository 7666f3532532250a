"""Every row that counts at one moment: the folded tables, and what was committed since."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from orchestrator.ledger.commits import (
    PREFIX,
    Commit,
    DamagedError,
    Record,
    counted,
    labels_of,
    load_record,
)
from orchestrator.ledger.parquet import decode
from orchestrator.storage.object_store import Store
from orchestrator.tables import delta_log, file_cache
from orchestrator.tables.compaction_log import batches, folded
from orchestrator.tables.delta_log import TableVersion
from trainables.schemas import SCHEMAS

log = logging.getLogger("segprint.tables")


@dataclass(frozen=True)
class Chosen:
    """Names that are read of files which have others too: these, or all but these."""

    names: set[str]
    how: Literal["semi", "anti"]


@dataclass(frozen=True)
class Source:
    """Where a table's rows are: files, of some attempts only, and rows that are in no file yet."""

    name: str
    files: list[Path]
    chosen: Chosen | None
    live: pa.Table

    def attach(self, connection: duckdb.DuckDBPyConnection, digests: set[str] | None) -> None:
        """Make the rows a view of the table's name, of some digests only if given."""
        connection.register(f"_{self.name}_live", self.live)
        live = connection.view(f"_{self.name}_live")
        if not self.files:
            live.create_view(self.name)
            return
        rows = connection.read_parquet([str(p) for p in self.files], union_by_name=True)
        joins = [("attempt", self.chosen)] if self.chosen else []
        if digests is not None:
            joins.append(("digest", Chosen(digests, "semi")))
        for column, chosen in joins:
            listed = f"_{self.name}_{column}"
            values = pa.array(chosen.names, pa.string())
            connection.register(listed, pa.table({column: values}))
            rows = rows.join(connection.view(listed), column, how=chosen.how)
        there = set(rows.columns)
        columns = [
            duckdb.ColumnExpression(name)
            if name in there
            else duckdb.ConstantExpression(None).cast(kind).alias(name)
            for name, kind in zip(live.columns, live.types, strict=True)
        ]
        rows = rows.select(*columns)
        (rows.union(live) if self.live.num_rows else rows).create_view(self.name)


class Snapshot:
    """The ledger's rows as they stood when it was made.

    ``trials`` is looked at first, and takes a batch last: what it has folded, all tables have.
    ``version``, the number of a batch, shows what was folded by then and nothing else.
    """

    def __init__(self, store: Store, version: int | None = None) -> None:
        self.store, self.version = store, version
        self.problems: list[str] = []
        """What was found damaged, and is left out or read from elsewhere."""
        self._folded: dict[str, str] = {}
        self._records: dict[str, Record | DamagedError] = {}
        self._trials = self._look()
        self._commits = {c.key: c for c in map(Commit.parse, store.list(PREFIX)) if c is not None}
        if version is not None:
            self._past(version)

    def table(self, name: str, digests: Iterable[str] | None = None) -> pa.Table:
        """One table's rows, over all counted attempts or those of some digests."""
        wanted = None if digests is None else set(digests)
        source = self.source(name, wanted)
        if not source.files:
            return source.live
        try:
            with duckdb.connect(":memory:") as connection:
                connection.execute("SET TimeZone = 'UTC'")
                source.attach(connection, wanted)
                return connection.table(name).to_arrow_table().cast(SCHEMAS[name])
        except duckdb.Error as error:
            first = str(error).partition("\n")[0]
            self._note(f"{delta_log.ROOT}{name}: {first}; run `segprint tables rebuild`")
            return self._live(name, set(self._counted), wanted)

    def source(self, name: str, digests: set[str] | None = None) -> Source:
        """Where a table's rows are. A damaged one is named, and read from the attempts' parts."""
        live, files, chosen = set(self._counted), list[Path](), None
        if self._trials is not None:
            try:
                state = self._trials if name == "trials" else delta_log.load(self.store, name)
                # A table that is newer than all that is folded has no log yet, and no rows.
                if state is None and not self._live(name, live, digests).num_rows:
                    return Source(name, files, chosen, SCHEMAS[name].empty_table())
                if state is None or state.folded < self._trials.folded:
                    what = f"{delta_log.ROOT}{name} has not all that {delta_log.ROOT}trials has"
                    raise DamagedError(f"{what}; run `segprint tables rebuild`")
                files = file_cache.paths(self.store, state.files)
                chosen = self._chosen(state)
                live -= set(self._folded)
            except DamagedError as error:
                self._note(str(error))
        return Source(name, files, chosen, self._live(name, live, digests))

    def _look(self) -> TableVersion | None:
        """The folded ``trials``, and which attempts it has; None if there is none to be trusted."""
        try:
            trials = delta_log.load(self.store, "trials")
            self._folded = folded(self.store, trials) if trials is not None else {}
        except DamagedError as error:
            self._note(str(error))
            return None
        return trials

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
            log.warning("segprint: %s", problem)

    @cached_property
    def _counted(self) -> dict[str, Commit]:
        """The commits that are read, by key."""
        return {c.key: c for c in counted(self._commits[k] for k in sorted(self._commits)).values()}

    def _past(self, version: int) -> None:
        known = batches(self.store)
        if not 1 <= version <= len(known):
            raise ValueError(f"version {version} is none of the store's (choices: 1..{len(known)})")
        keys = {key for batch in known if batch.number <= version for key in batch.members}
        self._commits = {key: c for key, c in self._commits.items() if key in keys}

    def _chosen(self, state: TableVersion) -> Chosen | None:
        """The attempts that count, where a table's files have others too, or may have."""
        assert self._trials is not None
        mine = {attempt for key, attempt in self._folded.items() if key in self._counted}
        others = set(self._folded.values()) - mine
        if state.folded != self._trials.folded or len(mine) < len(others):
            return Chosen(mine, "semi")
        return Chosen(others, "anti") if others else None

    def _live(self, name: str, keys: set[str], digests: set[str] | None) -> pa.Table:
        """Rows from the attempts' own objects, verified; what is damaged is named and left out."""
        chosen = sorted(k for k in keys if digests is None or self._counted[k].digest in digests)
        tables = [SCHEMAS[name].empty_table()]
        records: list[Record] = []
        unread = [key for key in chosen if key not in self._records]
        for key, value in self.store.get_many(unread).items():
            self._records[key] = load_record(key, value)
        for record in (self._records[key] for key in chosen if key in self._records):
            if isinstance(record, DamagedError):
                self._note(f"{record}; left out, see `segprint tables check`")
            elif name in record.tables:
                records.append(record)
        objects = self.store.get_many([record.tables[name].key for record in records])
        for record in records:
            part = record.tables[name]
            try:
                mine = record.labels or self._about(record)
                tables.append(decode(part, objects.get(part.key), record, mine))
            except DamagedError as error:
                self._note(f"{error}; left out, see `segprint tables check`")
        return pa.concat_tables(tables)

    def _about(self, record: Record) -> dict[str, str | None]:
        """Of an attempt from before every row said so: its trial says it."""
        part = record.tables["trials"]
        value = self.store.get_many([part.key]).get(part.key)
        return labels_of(decode(part, value, record, {}).to_pylist()[0])
