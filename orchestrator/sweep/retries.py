"""What a sweep remembers of trials that ended badly, from one round to the next."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

from orchestrator.ledger import failed_attempts
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import Plan


@dataclasses.dataclass
class RetryState:
    """Losses, and in how many parts the next try passes a batch."""

    lost: Counter[str] = dataclasses.field(default_factory=Counter[str])
    """How often each digest lost its node."""
    splits: dict[str, int] = dataclasses.field(default_factory=dict[str, int])
    forgiven: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    """Failures before the sweep that do not count, by digest."""

    def split(self, digest: str) -> int:
        """How many times more parts a batch is passed in
        (:class:`trainables.runtime.worker_context.WorkerContext`).
        """
        return self.splits.get(digest, 1)

    def recall(self, made: Plan, ledger: Ledger) -> None:
        """What the pending trials' failures have to say that another sweep recorded; those that do
        not count say nothing, so that a larger machine need not split what a smaller one had to.
        """
        unknown = {t.digest for t in made.pending} - self.splits.keys() - self.forgiven.keys()
        self.splits |= ledger.failed_attempts.microbatch_factors(unknown)

    def note(self, digest: str, reason: str | None) -> None:
        """A trial failed: for want of memory, it is tried again with half of it."""
        if failed_attempts.out_of_memory(reason):
            self.splits[digest] = 2 * self.split(digest)
