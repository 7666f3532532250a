"""What a search is judged by: metrics of validation cases and costs, from committed rows."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from orchestrator.heldout.rows import SAMPLE, HeldOutRows
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.selection import Standing
from orchestrator.tables.snapshot import Snapshot
from search_spaces import Search
from trainables.config import Config
from trainables.evaluation.evaluate import passes_per_image
from trainables.metrics import Metric
from trainables.part import names, parse_part, unknown

COSTS = {
    "passes": "passes_per_image",
    "device_seconds": "device_seconds",
    "parameters": "parameters",
}
"""Columns of the trials table; the less, the better."""


@dataclass(frozen=True)
class Objectives:
    """Objectives and limits, checked; the sign is that of what is larger when it is better."""

    objectives: tuple[tuple[str, int], ...]
    limits: tuple[tuple[str, int, float], ...]

    @staticmethod
    def of(search: Search) -> Objectives:
        """What a search asks for.

        Raises:
            ValueError: an unknown name, or a minus too many or too few.
        """
        objectives = [
            (text.removeprefix("-"), -1 if text[:1] == "-" else 1, text)
            for text in search.objectives
        ]
        for name, sign, text in objectives:
            if sign != _sign(name):
                right = f"-{name}" if sign > 0 else name
                raise ValueError(
                    f"Search: objective {text!r} is the worse the more: write {right!r}"
                )
        limits = tuple((name, _sign(name), bound) for name, bound in search.limits.items())
        return Objectives(tuple((name, sign) for name, sign, _ in objectives), limits)

    @property
    def several(self) -> bool:
        """Whether there is more than one objective."""
        return len(self.objectives) > 1

    @property
    def reported(self) -> bool:
        """Whether the validation score that trials report says all."""
        return self.objectives == (("dice", 1),) and not self.limits

    def affords(self, config: Config) -> bool:
        """Whether a config keeps the limit on passes, which are known before training."""
        bounds = [bound for name, _, bound in self.limits if name == "passes"]
        return all(passes_per_image(config) <= bound for bound in bounds)

    @property
    def names(self) -> list[str]:
        """All that has to be measured, each once."""
        return list(dict.fromkeys([n for n, _ in self.objectives] + [n for n, _, _ in self.limits]))

    def standing(self, measured: dict[str, float]) -> Standing:
        """From values by name."""
        return Standing(
            tuple(sign * measured[name] for name, sign in self.objectives),
            tuple(sign * (bound - measured[name]) for name, sign, bound in self.limits),
        )

    @cached_property
    def _metrics(self) -> list[Metric]:
        chosen = [name for name in self.names if name not in COSTS and name != "dice"]
        return [cast("Metric", parse_part("metrics", name)) for name in chosen]

    def standings(self, ledger: Ledger, digests: Collection[str]) -> dict[str, Standing]:
        """Of every committed trial that has all that is asked for: finite numbers, never a NaN.

        Dice is the best validation score, which a pruned trial has too.
        """
        if not digests:
            return {}
        snapshot = Snapshot(ledger.store)
        found: dict[str, dict[str, float]] = {}
        for row in snapshot.table("trials", digests).to_pylist():
            costs = {name: row[column] for name, column in COSTS.items()}
            found[row["digest"]] = {"dice": row["score"], **costs}
        for table in dict.fromkeys(metric.table for metric in self._metrics):
            rows = HeldOutRows(table, snapshot.table(table, digests), set(digests), split="val")
            for digest in rows.names["digest"]:
                by_class = rows.by_class(rows.indices([digest], SAMPLE)).values()
                for metric in (m for m in self._metrics if m.table == table):
                    values = [cases.point(metric) for cases in by_class]
                    known = [value for value in values if not math.isnan(value)]
                    found[digest][metric.name] = sum(known) / len(known) if known else math.nan
        return {d: self.standing(v) for d, v in found.items() if _complete(v, self.names)}


def _sign(name: str) -> int:
    """1 where more is better, −1 where less is."""
    if name in COSTS:
        return -1
    if name not in names("metrics"):
        raise unknown("objective", name, [*names("metrics"), *COSTS])
    return 1 if cast("Metric", parse_part("metrics", name)).better == "higher" else -1


def _complete(measured: dict[str, float], wanted: list[str]) -> bool:
    values = [measured.get(name) for name in wanted]
    return all(v is not None and math.isfinite(v) for v in values)
