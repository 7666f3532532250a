"""The history of a search, read from committed rows, so that a search continues after any crash."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.ledger.commits import Commit
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.cells import Cell
from orchestrator.planning.objectives import Objectives
from orchestrator.planning.selection import Standing
from orchestrator.search import pruning
from orchestrator.search.pruning import RungKey, RungScore
from orchestrator.tables.snapshot import Snapshot
from search_spaces._parameters import Values
from trainables.schemas import Outcome

if TYPE_CHECKING:
    from orchestrator.planning.plan import Plan


@dataclass(frozen=True)
class PastTrial:
    """One trial that Optuna learns from; if its outcome is None, Optuna suggests it again."""

    values: Values
    outcome: Outcome | None
    standing: Standing | None = None
    reports: Mapping[int, float] = field(default_factory=dict[int, float])
    """Validation score by step."""
    warm_start: bool = False
    """Whether it is a trial of another study, from which the search starts."""
    digest: str = ""


class WarmStart(NamedTuple):
    """An ended search trial of another study."""

    values: Values
    outcome: Outcome


class SearchHistory:
    """The search trials of one plan and those of its warm start, read once from the ledger."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self._plan = plan
        search = plan.space.search
        self.objectives = Objectives.of(search) if search is not None else None
        self.commits = ledger.commits()
        self._warm_starts = _warm_starts(plan, ledger, self.commits)
        digests = {t.digest for t in plan.trials if t.stage == "search"}
        digests |= {digest for trials in self._warm_starts.values() for digest in trials}
        self.standings = self.objectives.standings(ledger, digests) if self.objectives else {}
        self._validations: dict[str, dict[int, RungScore]] = {}
        """The validation scores, by digest and step."""
        for row in Snapshot(ledger.store).table("steps", digests).to_pylist() if digests else []:
            if row["score_count"]:
                mean = row["score_sum"] / row["score_count"]
                score = RungScore(mean, tuple(row["case_scores"] or ()))
                self._validations.setdefault(row["digest"], {})[row["step"]] = score

    def trials(self, cell: Cell) -> list[PastTrial]:
        """Return the trials of the warm start, then those of the cell's own search, in order."""
        warm = [
            PastTrial(
                values, outcome, self.standings.get(digest), self._reports(digest), True, digest
            )
            for digest, (values, outcome) in self._warm_starts.get(cell.name, {}).items()
        ]
        return warm + [
            PastTrial(
                t.values,
                t.outcome if t.state in ("done", "given up") else None,
                self.standings.get(t.digest),
                self._reports(t.digest),
                digest=t.digest,
            )
            for t in self._plan.trials
            if t.cell is cell and t.stage == "search"
        ]

    def rung_scores(self) -> dict[RungKey, dict[str, RungScore]]:
        """Return the scores of committed search trials at each rung, by digest."""
        scores: dict[RungKey, dict[str, RungScore]] = {}
        search = self._plan.space.search
        if search is None:
            return scores
        for t in self._plan.trials:
            if t.stage != "search" or t.outcome is None:
                continue
            bracket = pruning.bracket(search.pruner, t.index, len(search.rungs))
            for step, score in self._validations.get(t.digest, {}).items():
                if step in search.rungs[bracket:]:
                    scores.setdefault(RungKey(t.cell.name, bracket, step), {})[t.digest] = score
        return scores

    def _reports(self, digest: str) -> dict[int, float]:
        validations = self._validations.get(digest, {})
        return {step: v.score for step, v in validations.items() if math.isfinite(v.score)}


def _warm_starts(
    plan: Plan, ledger: Ledger, commits: Mapping[str, Commit]
) -> dict[str, dict[str, WarmStart]]:
    """Return, per cell, the ended search trials of the studies in ``warm_start``, by digest.

    They have the same task, the same active parameters, and values within the constraints; their
    number of training steps may differ.
    """
    search = plan.space.search
    if search is None or not search.warm_start:
        return {}
    own = {t.digest for t in plan.trials}
    declared = [
        d
        for study in search.warm_start
        for d in ledger.studies.declared(study, whole=True)
        if d.stage == "search" and d.digest not in own
    ]
    details = ledger.studies.declarations(declared)
    warm_starts: dict[str, dict[str, WarmStart]] = {}
    for cell in (c for c in plan.cells if c.searched):
        task = plan.examples[cell.name].final.plain()["task"]
        for d in declared:
            values, commit = details[d.key]["values"], commits.get(d.digest)
            if commit is None or commit.outcome == "failed":
                continue
            if details[d.key]["config"]["task"] == task and cell.accepts(values):
                trials = warm_starts.setdefault(cell.name, {})
                trials[d.digest] = WarmStart(values, commit.outcome)
    return warm_starts
