"""What the intervals of a leaderboard do not cover, and why some are wide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.formatting import plural
from orchestrator.report.cell_names import case_noun, readable
from orchestrator.statistics.bootstrap import FEWEST
from orchestrator.statistics.small_samples import student

FEW_SEEDS = 4
"""The most seeds for which the quantile of Student's t is explained."""


def caveats(board: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences on seeds, empty cases, tiles and groups; ``board`` are its rows."""
    few = {row["task"]: row["groups"] for row in board if row["groups"] < FEWEST}
    return [
        *_seeds(min(row["seeds"] for row in board)),
        *_empty(_listed(row for row in board if row.get("empty_kept") is not None)),
        *_tiles(_listed(row for row in board if case_noun(row) == "tile")),
        *_groups(few),
    ]


def _listed(rows: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(readable(task) for task in dict.fromkeys(row["task"] for row in rows))


def _seeds(fewest: int) -> list[str]:
    if fewest == 1:
        return [
            "With one training seed, an interval is that of the trained network: nothing is known"
            " about how much another training would differ."
        ]
    if fewest <= FEW_SEEDS:
        return [
            f"With {fewest} training seeds, the standard error between seeds enters the interval of"
            f" Dice {student(fewest - 1):.1f}-fold (Student's t; 2-fold with many seeds), so that"
            " it can be wide."
        ]
    return []


def _empty(tasks: str) -> list[str]:
    if not tasks:
        return []
    return [
        f"{tasks}: some test cases have no foreground. The Dice of such a case is 1 if the"
        " prediction is empty and else 0, which widens intervals; the further metrics have the Dice"
        " of the other cases."
    ]


def _tiles(tasks: str) -> list[str]:
    if not tasks:
        return []
    return [
        f"{tasks}: the test cases are tiles that whole images were cut into; tiles of one image are"
        " dependent."
    ]


def _groups(few: Mapping[str, int]) -> list[str]:
    if not few:
        return []
    listed = ", ".join(f"{readable(task)} ({plural(n, 'group')})" for task, n in few.items())
    return [
        f"Intervals and tests do not extend to other patients: {listed}. Fewer than {FEWEST} groups"
        " allow no statement at 95 %, so cases are treated as independent."
    ]
