"""A study as an object: planned, run, and shown in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

import search_spaces
from cluster import Cluster
from orchestrator.analyses import functions
from orchestrator.commands.output import console
from orchestrator.commands.plan import summarize
from orchestrator.commands.sweep import SweepOptions, remarks, run_sweep
from orchestrator.formatting import plural, printable
from orchestrator.ledger.ledger import Ledger
from orchestrator.notebook.results import Figures, Results
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.planning.same_name import check_no_cluster, check_same_study
from orchestrator.planning.validation import check
from orchestrator.storage.location import default_store
from orchestrator.storage.object_store import Store
from search_spaces import Space
from trainables.part import require
from trainables.training.trained_model import TrainedModel

SHOWN = ("leaderboard", "fingerprints")
"""Sections of the report that a study shows in a notebook."""


@dataclass(frozen=True, repr=False)
class StudyPlan:
    """The trials of a study: those that are done, those that are left, and what they cost."""

    study: str
    complete: bool
    cells: pd.DataFrame
    """The counts and the estimated device-seconds of each cell."""
    lines: tuple[str, ...]
    """The totals and everything that needs attention, as sentences."""

    @property
    def html(self) -> str:
        """The plan as a notebook shows it."""
        return f"{self.cells.to_html(index=False)}<p>{_html(self.lines)}</p>"

    def __repr__(self) -> str:
        return f"{self.cells.to_string(index=False)}\n\n{_lines(self.lines)}"

    def _repr_html_(self) -> str:
        return self.html


class Study:
    """A search space and the store that keeps its results."""

    def __init__(self, space: Space | str, store: str | None = None) -> None:
        """Check a space, or load one by its name or the path of its file.

        ``store`` is a directory or ``s3://BUCKET/PREFIX``; None: ``$SEGPRINT_STORE``, or else the
        directory ``results``.

        Raises:
            ValueError: the space describes no valid config, or it has no name or a cluster's.
        """
        if isinstance(space, str):
            self.name, self.space = search_spaces.load(space)
        else:
            require(
                space.name is not None,
                "Space: name=None must be given, e.g. Space(name='my_study', ...): a space without"
                " a file has no other name",
            )
            self.name, self.space = str(space.name), space
        check_no_cluster(self.name)
        check(self.space)
        self._ledger = Ledger(Store(store or default_store()))

    @property
    def results(self) -> Results:
        """What is committed of the study at this moment."""
        return Results(self._ledger, functions(), (self.name,))

    def plan(self) -> StudyPlan:
        """Compare the space with the store; this changes nothing.

        Raises:
            ValueError: another study in the store has the name.
        """
        plan = make_plan(self.name, self.space, self._ledger)
        check_same_study(plan, self._ledger)
        return self._summary(plan)

    def run(
        self,
        on: str | Cluster = "local",
        *,
        again: bool = False,
        silence: float | None = None,
        mirror: str | None = None,
    ) -> StudyPlan:
        """Train what the study lacks, as ``segprint sweep`` does; return the plan afterwards.

        ``on`` is a cluster or its name; the other arguments are the options of the verb. A run
        that is interrupted is continued by the next one.

        Raises:
            KeyboardInterrupt: the run was interrupted, after its trials kept their checkpoints.
            ValueError: the cluster cannot be reached from here, or cannot run the trials.
        """
        how = SweepOptions(on, silence, mirror, again)
        plan, interrupted = run_sweep(
            self.name, self.space, self._ledger, how, console(), f"{self.name}.py"
        )
        if interrupted:
            raise KeyboardInterrupt
        return self._summary(plan, remarks(plan, "run(again=True)"))

    def leaderboard(self) -> pd.DataFrame:
        """Return the study's rows of the view ``leaderboard``."""
        return self.results.leaderboard()

    def trials(self, where: str | None = None) -> pd.DataFrame:
        """Return the study's committed trials that satisfy a condition in SQL."""
        return self.results.trials(where)

    def query(self, sql: str) -> pd.DataFrame:
        """Return the rows of one SELECT over the views, which show this study only."""
        return self.results.query(sql)

    def figures(self, *sections: str) -> Figures:
        """Return sections of the study's report, all by default; a notebook shows them."""
        return self.results.figures(*sections)

    def load(self, name: str) -> TrainedModel:
        """Return the best trained model of an arm or a cell."""
        return self.results.load(f"{self.name}/{name}")

    def __repr__(self) -> str:
        return f"Study({self.name!r}, store={self._ledger.store.url!r})"

    def _repr_html_(self) -> str:
        """Return the question, the state, and the leaderboard and fingerprints or the plan."""
        plan = make_plan(self.name, self.space, self._ledger)
        done = sum(trial.state == "done" for trial in plan.trials)
        total = len(plan.trials) + plan.unknown
        head = _html(
            [f"{self.name}: {self.space.question}", f"Done: {done} of {plural(total, 'trial')}."]
        )
        results = self.results
        shown = results.figures(*SHOWN) if len(results["leaderboard"]) else self._summary(plan)
        return f"<p>{head}</p>{shown.html}"

    def _summary(self, plan: Plan, further: Iterable[str] = ()) -> StudyPlan:
        found = summarize(plan, self._ledger)
        lines = tuple(dict.fromkeys((*found.lines, *further)))  # some remarks are in both
        return StudyPlan(self.name, plan.complete, pd.DataFrame(found.cells), lines)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(printable(line, keep="\n") for line in lines)


def _html(lines: Iterable[str]) -> str:
    return html.escape(_lines(lines)).replace("\n", "<br>")
