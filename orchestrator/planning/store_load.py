"""The load of a study on its store: conditional writes, which a store takes one after another."""

from __future__ import annotations

from orchestrator.formatting import printable
from orchestrator.ledger.write_rate import WriteRate
from orchestrator.storage.object_store import Store
from orchestrator.tables.compaction_log import TABLES

COMPACT_EVERY = 500
"""A sweep compacts the tables each time this many trials have ended."""
WRITES_PER_TRIAL = 1 + (1 + len(TABLES)) / COMPACT_EVERY
"""Conditional writes per trial: its commit record, and its share of a compaction's batch and of an
entry in the log of each table."""


def warnings(store: Store, trials: int, seconds: float) -> list[str]:
    """Warn if the trials of a plan end faster than the store takes their conditional writes.

    ``seconds`` is the estimated wall time of all ``trials``. A store that no doctor measured is
    compared with nothing.
    """
    rate = WriteRate.remembered(store)
    if rate is None or not trials:
        return []
    needed = trials * WRITES_PER_TRIAL / max(seconds, 1e-9)
    if needed <= rate.per_second:
        return []
    return [
        f"about {3600 * trials / max(seconds, 1e-9):,.0f} trials per hour need {needed:.1f}"
        f" conditional writes per second, the store took {rate.per_second:g} from"
        f" {printable(rate.host)} ({printable(rate.at)}): commits and compactions will wait; run"
        " fewer or longer trials at once, or `segprint doctor` to measure again"
    ]
