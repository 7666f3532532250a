"""The arms of one study that the claims are judged on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.claims.convergence import Convergence
from orchestrator.claims.roles import NAMES, Arm, ArmRoster, Role, chosen
from orchestrator.claims.rows import ClaimRow
from orchestrator.claims.statements import Claim
from orchestrator.formatting import plural
from orchestrator.heldout.final_cells import FinalCell
from orchestrator.statistics.bootstrap import FEWEST

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog


class Trust(NamedTuple):
    """Doubts and caveats about the evidence of a row."""

    doubts: tuple[str, ...]
    """Reasons why the networks are not to be judged yet."""
    caveats: tuple[str, ...]
    """Limitations of a verdict."""


class StudyArms:
    """The final cells of one study as arms with roles.

    ``arms`` are the diffusion arms that are judged, each with its task: one per model and task.
    """

    def __init__(self, tables: Catalog, study: str, cells: Sequence[FinalCell]) -> None:
        self.study = study
        by_task: dict[str, list[FinalCell]] = {}
        for cell in cells:
            by_task.setdefault(cell.task, []).append(cell)
        self.rosters = {task: ArmRoster(some) for task, some in by_task.items()}
        models = sorted({model for roster in self.rosters.values() for model in roster.models})
        self.arms: list[tuple[str, Arm]] = [
            (task, arm) for model in models for task, arm in chosen(self.rosters, model).items()
        ]
        self._convergence = Convergence(tables)

    def row(self, claim: Claim, task: str, arm: Arm, source: str) -> ClaimRow:
        """A row without evidence."""
        return ClaimRow(self.study, claim, source, task, arm.model, arm.cell)

    def lacking(self, claim: Claim, role: Role) -> ClaimRow:
        """The only row of a statement for which the study has no arm of a role."""
        source = self.query("leaderboard").replace("*", "task, arm, model, mode", 1)
        missing = f"there is no {NAMES[role]} in this study"
        return ClaimRow(self.study, claim, source, missing=missing)

    def query(self, view: str, **where: str) -> str:
        """The query of the rows of a view with these values."""
        conditions = {"study": self.study, **where}
        quoted = (f"{k} = '" + v.replace("'", "''") + "'" for k, v in conditions.items())
        return f"SELECT * FROM {view} WHERE {' AND '.join(quoted)}"  # noqa: S608 - shown, not run

    def trust(self, task: str, seeds: int, sizes: Sequence[tuple[int, int]], *arms: Arm) -> Trust:
        """Doubts about the arms' networks on a task, and caveats of so many seeds and cases.

        ``sizes`` are pairs of the numbers of cases and of groups that the evidence is computed
        from.
        """
        floor = self.rosters[task].floor
        doubts = [self._convergence.doubt(a.cell, a.trials, floor(a), a.train) for a in arms]
        unknown = [a.cell for a in arms if self._convergence.gain(a.trials, a.train) is None]
        caveats = [f"of one training run{' each' * (len(arms) > 1)}"] * (seeds == 1)
        if unknown:
            caveats.append(f"whether {' and '.join(unknown)} had finished learning is not known")
        for images, groups in sizes:
            if groups < min(FEWEST, images):
                few = f"{plural(images, 'case')} of {plural(groups, 'group')}"
                caveats.append(f"of {few}: it holds for no other group")
        return Trust(tuple(doubt for doubt in doubts if doubt), tuple(caveats))
