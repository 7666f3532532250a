"""The summary at the top of the page: the main results in a few sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.report.cell_names import CellNames, plural, readable
from orchestrator.report.formats import decimals

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

MAX_TASKS = 6
"""Tasks that the summary names; the leaderboard has all."""
CLAIMS = {
    1: "diffusion is better calibrated than its twin and less accurate than nnU-Net and SegFormer",
    2: "at some timesteps the image adds little",
    3: "the loss over timesteps is not monotone",
    4: "each task has its own fingerprint",
}


def findings(tables: Catalog, names: CellNames) -> list[str]:
    """Return the number of results, the best arm per task, and the verdicts on the claims."""
    return [
        _progress(tables),
        *_best_arms(tables, names),
        *_verdicts(tables),
    ]


def _progress(tables: Catalog) -> str:
    outcomes = {row["digest"]: row["outcome"] for row in tables["trials"].to_pylist()}
    declared = set(tables["studies"]["digest"].to_pylist()) | set(outcomes)
    unsuccessful = sum(outcome in ("failed", "diverged") for outcome in outcomes.values())
    sentence = f"{len(outcomes)} of {plural(len(declared), 'declared trial')} are committed"
    return (
        f"{sentence}; {unsuccessful} of them failed or diverged."
        if unsuccessful
        else f"{sentence}."
    )


def _best_arms(tables: Catalog, names: CellNames) -> Iterator[str]:
    """Yield per task the arms with the highest Dice and the lowest ECE."""
    board = names.add_series(tables["leaderboard"].to_pylist())
    for task in names.tasks[:MAX_TASKS]:
        arms = [row for row in board if row["task"] == task]
        best = _best(arms, "dice", 1)
        calibrated = _best(arms, "ece", -1)
        if best is not None and calibrated is not None:
            other = "" if calibrated is best else f" {calibrated['series']}"
            yield (
                f"{readable(task)}: {best['series']} has the highest mean Dice,"
                f" {_interval(best, 'dice')}, and{other} the lowest ECE,"
                f" {_interval(calibrated, 'ece')}."
            )
    if len(names.tasks) > MAX_TASKS:
        yield f"The leaderboard lists the other {len(names.tasks) - MAX_TASKS} tasks."


def _best(arms: list[dict[str, Any]], metric: str, sign: int) -> dict[str, Any] | None:
    known = [row for row in arms if row[metric] is not None]
    return max(known, key=lambda row: sign * row[metric], default=None)


def _interval(row: dict[str, Any], metric: str) -> str:
    value, low, high = (decimals(3)(row[f"{metric}{end}"]) for end in ("", "_low", "_high"))
    return f"{value} [{low}, {high}]"


def _verdicts(tables: Catalog) -> Iterator[str]:
    """Yield the verdicts on each claim of the source study, over all its statements."""
    rows = tables["claims"].to_pylist()
    if not rows:
        return
    parts: list[str] = []
    for claim, statement in CLAIMS.items():
        verdicts = {row["verdict"] for row in rows if row["claim"] == claim}
        verdict = verdicts.pop() if len(verdicts) == 1 else "mixed verdicts"
        parts.append(f"({claim}) {statement}: {verdict}")
    yield f"Claims of the source study: {'; '.join(parts)}."
