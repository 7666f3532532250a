"""Objectives and limits of a search: validation metrics and costs, from committed rows."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from orchestrator.heldout.metrics import load_metric
from orchestrator.heldout.rows import SAMPLE, HeldOutRows
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.selection import Standing
from orchestrator.tables.snapshot import Snapshot
from search_spaces import Search
from trainables.config import Config
from trainables.evaluation.predict import passes_per_image
from trainables.metrics import Metric
from trainables.part import names, unknown

COSTS = {
    "passes": "passes_per_image",
    "device_seconds": "device_seconds",
    "parameters": "parameters",
}
"""Cost name to column of the trials table; less is better."""


@dataclass(frozen=True)
class Objectives:
    """Validated objectives and limits; the sign of each makes larger values better."""

    objectives: tuple[tuple[str, int], ...]
    """(name, sign)."""
    limits: tuple[tuple[str, int, float], ...]
    """(name, sign, bound)."""

    @staticmethod
    def of(search: Search) -> Objectives:
        """Return the objectives and limits of a search.

        Raises:
            ValueError: a name is unknown, or a minus sign is missing or superfluous.
        """
        objectives = [
            (text.removeprefix("-"), -1 if text[:1] == "-" else 1, text)
            for text in search.objectives
        ]
        for name, sign, text in objectives:
            if sign != _sign(name):
                right = f"-{name}" if sign > 0 else name
                raise ValueError(
                    f"Search: objective {text!r} would prefer worse values: write {right!r}"
                )
        limits = tuple((name, _sign(name), bound) for name, bound in search.limits.items())
        return Objectives(tuple((name, sign) for name, sign, _ in objectives), limits)

    @property
    def several(self) -> bool:
        """Whether there is more than one objective."""
        return len(self.objectives) > 1

    @property
    def reported(self) -> bool:
        """Whether the validation score that trials report is the only objective."""
        return self.objectives == (("dice", 1),) and not self.limits

    def affords(self, config: Config) -> bool:
        """Whether a config is within the limit on passes, which are known before training."""
        bounds = [bound for name, _, bound in self.limits if name == "passes"]
        return all(passes_per_image(config) <= bound for bound in bounds)

    @property
    def names(self) -> list[str]:
        """All measured names, each once."""
        return list(dict.fromkeys([n for n, _ in self.objectives] + [n for n, _, _ in self.limits]))

    def standing(self, measured: dict[str, float]) -> Standing:
        """Return the standing of a trial from its values by name."""
        return Standing(
            tuple(sign * measured[name] for name, sign in self.objectives),
            tuple(sign * (bound - measured[name]) for name, sign, bound in self.limits),
        )

    @cached_property
    def _metrics(self) -> dict[str, Metric]:
        """The metrics by the name or path that the search gives."""
        chosen = [name for name in self.names if name not in COSTS and name != "dice"]
        return {name: load_metric(name) for name in chosen}

    def standings(self, ledger: Ledger, digests: Collection[str]) -> dict[str, Standing]:
        """Return the standing of each committed trial whose values are all known and finite.

        ``dice`` is the best validation score, which a pruned trial has too.
        """
        if not digests:
            return {}
        snapshot = Snapshot(ledger.store)
        measured: dict[str, dict[str, float]] = {}
        for row in snapshot.table("trials", digests).to_pylist():
            costs = {name: row[column] for name, column in COSTS.items()}
            measured[row["digest"]] = {"dice": row["score"], **costs}
        for table in dict.fromkeys(metric.table for metric in self._metrics.values()):
            rows = HeldOutRows(table, snapshot.table(table, digests), set(digests), split="val")
            for digest in measured.keys() & set(rows.names["digest"]):  # others are damaged
                by_class = rows.by_class(rows.indices([digest], SAMPLE)).values()
                for name, metric in self._metrics.items():
                    if metric.table == table:
                        values = [cases.point(metric) for cases in by_class]
                        known = [value for value in values if not math.isnan(value)]
                        measured[digest][name] = sum(known) / len(known) if known else math.nan
        return {d: self.standing(v) for d, v in measured.items() if _complete(v, self.names)}


def _sign(name: str) -> int:
    """Return 1 if larger values are better, −1 if smaller values are."""
    if name in COSTS:
        return -1
    if name not in names("metrics") and not name.endswith(".py"):
        raise unknown("objective", name, [*names("metrics"), *COSTS, "./YOUR_METRIC.py"])
    return 1 if load_metric(name).better == "higher" else -1


def _complete(measured: dict[str, float], wanted: list[str]) -> bool:
    values = [measured.get(name) for name in wanted]
    return all(v is not None and math.isfinite(v) for v in values)
