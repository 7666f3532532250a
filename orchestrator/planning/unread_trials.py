"""Trials of a space that only reads, which are left out because their weights are not kept."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.formatting import plural
from orchestrator.planning.plan import Plan


def unread_trials(plan: Plan) -> Iterator[str]:
    """Yield a line with their number, if there are any."""
    if plan.without_weights:
        left_out = plural(len(plan.without_weights), "trial")
        yield f"{left_out} left out, whose weights the store does not keep"
