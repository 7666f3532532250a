"""Cells that want the same trials, so that a comparison of them says nothing."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.planning.plan import Plan


def same_trials(plan: Plan) -> Iterator[str]:
    """Yield a line for each set of cells whose final trials have the same configs."""
    finals: dict[str, set[str]] = {}
    for trial in plan.trials:
        if trial.stage == "final":
            finals.setdefault(trial.cell.name, set()).add(trial.digest)
    cells: dict[frozenset[str], list[str]] = {}
    for cell, digests in finals.items():
        cells.setdefault(frozenset(digests), []).append(cell)
    for names in cells.values():
        if len(names) > 1:
            yield (
                f"warning: {', '.join(names)}: these cells have the same final configs; each config"
                " runs once, and their results are equal"
            )
