"""The objects that all rounds of one sweep share."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from cluster import Resources
from orchestrator.ledger.driver_lock import DriverLock
from orchestrator.ledger.ledger import Ledger
from orchestrator.sweep import timeouts
from orchestrator.sweep.budget import BudgetMeter
from orchestrator.sweep.progress import ProgressDisplay
from orchestrator.sweep.retries import RetryState
from orchestrator.tables import compaction

log = logging.getLogger("segprint.tables")


@dataclass
class SweepContext:
    """The ledger, the cluster and the state of one sweep."""

    ledger: Ledger
    display: ProgressDisplay
    lock: DriverLock
    resources: Resources
    budget: BudgetMeter
    silence: float = timeouts.SILENCE_SECONDS
    """A trial without a sign of life for so many seconds is killed."""
    retries: RetryState = field(default_factory=RetryState)
    tracker: str | None = None
    """The experiment tracker that is sent a copy (:mod:`orchestrator.sweep.trackers`)."""

    def compact(self) -> None:
        """Append committed rows to the tables; an error is logged, since no row is lost by it."""
        try:
            compaction.compact_committed(self.ledger.store)
        except Exception as error:  # the next sweep or `segprint tables compact` does it
            log.warning("segprint: the tables are not compacted for now: %s", error)
