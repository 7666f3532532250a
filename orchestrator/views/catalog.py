"""The catalog: everything committed as views, by name or by SQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property, partial

import duckdb
import pyarrow as pa

from orchestrator.formatting import printable
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.stored_json import warn_once
from orchestrator.tables.snapshot import Snapshot
from orchestrator.tables.source import Source
from orchestrator.views.result_cache import cached
from orchestrator.views.sql_sandbox import Sandbox
from trainables.part import part_class, unknown
from trainables.schemas import SCHEMAS

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
        ("baseline", pa.string()),
    ]
)
"""The view ``studies``: one row per declared trial, with its slot in its study."""

Analysis = Callable[["Catalog"], pa.Table]
"""Computes the rows of one view from the other views."""


class Catalog:
    """Views by name: the ledger's tables, ``studies``, and the given ``analyses``.

    With ``studies``, the views show only what those studies declared; with ``version``, only what
    was compacted up to that batch. ``metrics`` are paths of users' files, whose metrics the
    analyses add to their own.
    """

    def __init__(
        self,
        ledger: Ledger,
        analyses: Mapping[str, Analysis],
        studies: tuple[str, ...] = (),
        version: int | None = None,
        metrics: tuple[str, ...] = (),
    ) -> None:
        self.ledger, self.studies, self._analyses = ledger, studies, analyses
        self.metrics = metrics
        self.snapshot = Snapshot(ledger.store, version)
        self._rows: dict[str, pa.Table] = {}
        self._sources: dict[str, Source] = {}
        self._sandbox = Sandbox(self.names(), self.attach)

    def names(self) -> list[str]:
        """Return the names of all views."""
        return [*SCHEMAS, "studies", *self._analyses]

    def __getitem__(self, name: str) -> pa.Table:
        """Return the rows of a view, which are read once.

        Raises:
            ValueError: there is no such view.
        """
        if name not in self._rows:
            if name in SCHEMAS:
                self._rows[name] = self.snapshot.table(name, self._digests)
            elif name == "studies":
                self._rows[name] = self._studies(self._declared())
            elif name in self._analyses:
                self._rows[name] = self._computed(name)
            else:
                raise unknown("view", name, self.names())
        return self._rows[name]

    def relation(self, query: str) -> duckdb.DuckDBPyRelation:
        """Return the lazy relation of one SELECT: ``.df()``, ``.pl()``, ``.arrow()``...

        Raises:
            QueryError: the SQL is wrong, is not one SELECT, or names anything but the views.
        """
        return self._sandbox.relation(query)

    def sql(self, query: str, *, hard: bool = False) -> pa.Table:
        """Return the rows of one SELECT; see :meth:`orchestrator.views.sql_sandbox.Sandbox.table`.

        Raises:
            QueryError: as of :meth:`relation`, or the query took too long.
        """
        return self._sandbox.table(query, hard=hard)

    def attach(self, connection: duckdb.DuckDBPyConnection, name: str) -> list[str]:
        """Create a view in a connection; return the paths of the files that its rows stay in."""
        if name not in SCHEMAS:
            connection.register(name, self[name])
            return []
        if name not in self._sources:
            self._sources[name] = self.snapshot.source(name, self._digests)
        source = self._sources[name]
        source.attach(connection, self._digests)
        return [str(path) for path in source.paths]

    def all_revisions(self, study: str) -> pa.Table:
        """Return the rows of ``studies`` for every revision of a study, not the current only."""
        return self._studies(self.ledger.studies.declared(study))

    def _computed(self, name: str) -> pa.Table:
        """Return an analysis's rows; they are cached unless the snapshot met a damage."""
        attempts = self["trials"].select(["digest", "attempt"])
        compute = partial(self._analyses[name], self)
        inputs = [attempts, self["studies"]]
        if self.metrics:
            versions = [str(part_class("metrics", metric).version) for metric in self.metrics]
            inputs.append(pa.table({"metric": list(self.metrics), "version": versions}))
        return cached(name, inputs, compute, valid=lambda: not self.snapshot.problems)

    @cached_property
    def _digests(self) -> set[str] | None:
        """The digests of the chosen studies; None: all that are committed."""
        if not self.studies:
            return None
        return {slot.digest for slot in self._declared()}

    def _declared(self) -> list[Declared]:
        if not self.studies:
            return self.ledger.studies.current()
        current = self.ledger.studies.current
        return [slot for study in self.studies for slot in current(study, strict=True)]

    def _studies(self, slots: list[Declared]) -> pa.Table:
        declarations = self.ledger.studies.undamaged(slots)
        for key in self.ledger.studies.lost(slots):
            warn_once(f"{printable(key)} is gone; its trial is left out until its study is swept")
        names = {slot.study for slot in slots}
        baselines = {study: self.ledger.studies.baseline(study) for study in names}
        rows = [
            {
                "study": slot.study,
                "cell": slot.cell,
                "arm": declarations[slot.key]["arm"],
                "stage": slot.stage,
                "index": slot.index,
                "digest": slot.digest,
                "config": json.dumps(declarations[slot.key]["config"], sort_keys=True),
                "searched": json.dumps(declarations[slot.key]["values"], sort_keys=True),
                "baseline": baselines[slot.study],
            }
            for slot in slots
            if slot.key in declarations
        ]
        return pa.Table.from_pylist(rows, schema=STUDIES)
