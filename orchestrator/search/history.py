"""What a search remembers: its own trials and those that it starts from, as committed rows have it.

Nothing else is its memory, so a search goes on after any crash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.ledger.commits import Commit
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.cells import Cell
from orchestrator.planning.objectives import Objectives
from orchestrator.planning.selection import Standing
from orchestrator.search import pruning
from orchestrator.search.pruning import Rung
from orchestrator.tables.snapshot import Snapshot
from search_spaces._holes import Values, fits
from trainables.schemas import Outcome

if TYPE_CHECKING:
    from orchestrator.planning.plan import Plan


@dataclass(frozen=True)
class PastTrial:
    """One trial that Optuna is told of; to be run again first where its outcome is None."""

    values: Values
    outcome: Outcome | None
    standing: Standing | None = None
    reports: Mapping[int, float] = field(default_factory=dict[int, float])
    """Validation score by step."""
    own: bool = True
    """Whether it is one of the study's trials, or of another study's."""
    digest: str = ""


class SearchHistory:
    """The ledger as the searches of one plan see it: read once."""

    def __init__(self, made: Plan, ledger: Ledger) -> None:
        self.made = made
        search = made.space.search
        self.goals = Objectives.of(search) if search is not None else None
        self.commits = ledger.commits()
        self._lent = _lent(made, ledger, self.commits)
        digests = {t.digest for t in made.trials if t.stage == "search"}
        digests |= {digest for lent in self._lent.values() for digest in lent}
        self.standings = self.goals.standings(ledger, digests) if self.goals is not None else {}
        self._climbed: dict[str, dict[int, Rung]] = {}
        for row in Snapshot(ledger.store).table("steps", digests).to_pylist() if digests else []:
            if row["score_count"]:
                rung = Rung(row["score_sum"] / row["score_count"], tuple(row["case_scores"] or ()))
                self._climbed.setdefault(row["digest"], {})[row["step"]] = rung

    def past(self, cell: Cell) -> list[PastTrial]:
        """A cell's search so far, in order; before it what other studies know."""
        found = [
            PastTrial(
                values, outcome, self.standings.get(digest), self._reports(digest), False, digest
            )
            for digest, (values, outcome) in self._lent.get(cell.name, {}).items()
        ]
        for t in self.made.trials:
            if t.cell is cell and t.stage == "search":
                ended = t.outcome if t.state in ("done", "given up") else None
                standing = self.standings.get(t.digest)
                reports = self._reports(t.digest)
                found.append(PastTrial(t.values, ended, standing, reports, digest=t.digest))
        return found

    def rungs(self) -> dict[tuple[str, int, int], dict[str, Rung]]:
        """What committed search trials had at each rung, by cell, bracket and step; by digest."""
        found: dict[tuple[str, int, int], dict[str, Rung]] = {}
        search = self.made.space.search
        for t in self.made.trials if search is not None else []:
            assert search is not None
            if t.stage != "search" or t.outcome is None:
                continue
            bracket = pruning.bracket(search.pruner, t.index, len(search.rungs))
            for step, rung in self._climbed.get(t.digest, {}).items():
                if step in search.rungs[bracket:]:
                    found.setdefault((t.cell.name, bracket, step), {})[t.digest] = rung
        return found

    def _reports(self, digest: str) -> dict[int, float]:
        climbed = self._climbed.get(digest, {})
        return {step: r.score for step, r in climbed.items() if math.isfinite(r.score)}


Lent = dict[str, tuple[Values, Outcome]]


def _lent(made: Plan, ledger: Ledger, commits: Mapping[str, Commit]) -> dict[str, Lent]:
    """Per cell, ended search trials of the studies that a search starts from, by digest.

    Of the same task, with values that fill exactly this cell's holes and keep its constraints;
    fidelity may differ.
    """
    search = made.space.search
    if search is None or not search.warm_start:
        return {}
    own = {t.digest for t in made.trials}
    others = [d for study in search.warm_start for d in ledger.studies.declared(study, whole=True)]
    others = [d for d in others if d.stage == "search" and d.digest not in own]
    about = ledger.studies.declarations(others)
    found: dict[str, Lent] = {}
    for cell in (c for c in made.cells if c.searched):
        task = made.examples[cell.name][1].plain()["task"]
        for d in others:
            values, outcome = about[d.key]["values"], commits.get(d.digest)
            alike = about[d.key]["config"]["task"] == task and fits(cell.template, values)
            if alike and cell.keeps(values) and outcome is not None and outcome.outcome != "failed":
                found.setdefault(cell.name, {})[d.digest] = (values, outcome.outcome)
    return found
