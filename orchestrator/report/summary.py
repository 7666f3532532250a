"""The summary at the top of the page: the main results in a few sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.formatting import plural
from orchestrator.heldout.paired import advantage
from orchestrator.report.cell_names import CellNames, readable
from orchestrator.report.formats import decimals, p_equals, signed
from orchestrator.statistics.verdicts import comparison

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

MAX_TASKS = 6
"""Tasks that the summary names; the leaderboard has all."""
MAX_PAIRS = 6
"""Pairs of diffusion and its twin up to which the summary compares them."""
CLAIMS = {
    1: "diffusion is better calibrated than its twin and less accurate than nnU-Net and SegFormer",
    2: "at some timesteps the image adds little",
    3: "the loss over timesteps is not monotone",
    4: "each task has its own fingerprint",
}


def findings(tables: Catalog, names: CellNames) -> list[str]:
    """Return sentences on the progress, the best arms, diffusion and its twin, and the claims."""
    return [
        _progress(tables),
        *_best_arms(tables, names),
        *_twins(tables, names),
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
    """Yield per task the arm with the highest Dice."""
    board = names.add_series(tables["leaderboard"].to_pylist())
    for task in names.tasks[:MAX_TASKS]:
        arms = [row for row in board if row["task"] == task]
        known = [row for row in arms if row["dice"] is not None]
        best = max(known, key=lambda row: row["dice"], default=None)
        if best is not None:
            yield (
                f"{readable(task)}: {best['series']} has the highest mean Dice,"
                f" {_interval(best, 'dice')}, with an ECE of {_interval(best, 'ece')}."
            )
    if len(names.tasks) > MAX_TASKS:
        yield f"The leaderboard lists the other {len(names.tasks) - MAX_TASKS} tasks."


def _twins(tables: Catalog, names: CellNames) -> Iterator[str]:
    """Yield a comparison in Dice per pair of diffusion and its twin, if there are few pairs."""
    pairs = [row for row in tables["twins"].to_pylist() if row["metric"] == "dice"]
    if len(pairs) > MAX_PAIRS:
        return
    for pair in pairs:
        verb = comparison(
            advantage(pair),
            "has a significantly higher Dice than",
            "has a significantly lower Dice than",
            "does not differ significantly in Dice from",
        )
        low, high = (signed(pair[f"difference_{end}"]) for end in ("low", "high"))
        yield (
            f"{readable(pair['task'])}: {names(pair['study'], pair['cell'])} {verb} its twin"
            f" {names(pair['study'], pair['against'])} (paired difference"
            f" {signed(pair['difference'])} [{low}, {high}], {p_equals(pair['p_holm'])})."
        )


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
