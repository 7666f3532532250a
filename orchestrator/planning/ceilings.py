"""Searches whose objective is the same for several of the best trials, so that it ranks none."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.planning.objectives import COSTS
from orchestrator.planning.plan import Plan


def ceilings(plan: Plan) -> Iterator[str]:
    """Yield a line for each cell whose search is over and whose best value several trials share."""
    search = plan.space.search
    if search is None or search.objectives[0].removeprefix("-") in COSTS:
        return
    text = search.objectives[0]
    metric, sign = text.removeprefix("-"), -1 if text[:1] == "-" else 1
    finished = {t.digest for t in plan.trials if t.outcome == "finished"}
    for cell, standings in plan.standings.items():
        values = [s.values[0] for d, s in standings.items() if d in finished and s.within]
        best = max(values, default=0.0)
        shared = values.count(best)
        if shared > 1:
            yield (
                f"warning: {cell}: {shared} of {len(values)} searched trials reach the best value"
                f" {sign * best:.4g} of {metric}, which does not rank them: name another objective"
                " first, or validate on cases with more foreground"
            )
