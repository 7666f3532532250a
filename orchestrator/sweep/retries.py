"""The attempts at each trial, kept from one round of a sweep to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import Plan
from orchestrator.sweep.decisions import MOST_LOST, Retries


@dataclass
class RetryState:
    """The earlier attempts at each trial, by digest."""

    forgiven: Mapping[str, int] = field(default_factory=dict[str, int])
    """Failures before the sweep that do not count."""
    _retries: dict[str, Retries] = field(default_factory=dict[str, Retries])

    def of(self, digest: str) -> Retries:
        """Return the earlier attempts at a trial."""
        return self._retries.get(digest, Retries())

    def update(self, digest: str, retries: Retries) -> None:
        """Replace the attempts at a trial."""
        self._retries[digest] = retries

    @property
    def losses(self) -> int:
        """The node losses of all trials, up to :data:`MOST_LOST` each."""
        return sum(min(r.losses, MOST_LOST) for r in self._retries.values())

    def recall(self, plan: Plan, ledger: Ledger) -> None:
        """Take over the failures of pending trials that the ledger has.

        Forgiven failures do not change the microbatches: this machine may have more memory.
        """
        pending = {t.digest for t in plan.pending}
        unsplit = {d for d in pending if self.of(d).microbatch_factor == 1}
        factors = ledger.failed_attempts.microbatch_factors(unsplit - self.forgiven.keys())
        for digest in pending:
            known = self.of(digest)
            self._retries[digest] = replace(
                known,
                failures=plan.failures.get(digest, 0) - self.forgiven.get(digest, 0),
                microbatch_factor=max(known.microbatch_factor, factors.get(digest, 1)),
            )
