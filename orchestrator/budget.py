"""What a study has spent: committed trials that it trained itself, and what has run since."""

from __future__ import annotations

import dataclasses
import time

from orchestrator import policy
from orchestrator.estimate import here
from orchestrator.ledger import Ledger
from orchestrator.plan import Plan
from orchestrator.policy import Spent

HOUR = 3600.0


def own(made: Plan, ledger: Ledger) -> set[str]:
    """Digests that were not committed yet when the study declared them, in any revision."""
    declared = ledger.studies.declared(made.study)
    about = ledger.studies.about(declared)
    return {d.digest for d in declared if not about[d.key].get("committed_before")}


def spent(made: Plan, ledger: Ledger) -> Spent:
    """By committed rows. An attempt that another one replaced, such as a failure that was tried
    again, has none.
    """
    budget = made.space.budget
    digests = own(made, ledger) if budget is not None else set[str]()
    if budget is None or not digests:
        return Spent()
    rows = ledger.table("trials", digests).to_pylist()
    hours = [((row["device_seconds"] or 0.0) / HOUR, row["device"] or "") for row in rows]
    return Spent(
        trials=len(rows),
        device_hours=sum(h for h, _ in hours),
        money=sum(h * policy.price(device, budget.rates) for h, device in hours),
    )


class Purse:
    """A budget while a sweep runs. A trial that was started counts before it is committed, by the
    time that its workers have had.
    """

    def __init__(self, made: Plan, ledger: Ledger) -> None:
        self.budget = made.space.budget
        self._began = time.monotonic()
        self.renew(made, ledger)

    def renew(self, made: Plan, ledger: Ledger) -> None:
        """Count anew by what is committed, when nothing runs."""
        self._before = spent(made, ledger)
        self._running: dict[str, tuple[float, int]] = {}
        self._started, self._device_hours = 0, 0.0

    def started(self, name: str, workers: int) -> None:
        """A trial was handed out."""
        self._running[name] = time.monotonic(), workers
        self._started += 1

    def ended(self, name: str) -> None:
        """It has ended."""
        began, workers = self._running.pop(name)
        self._device_hours += (time.monotonic() - began) * workers / HOUR

    def empty(self) -> str | None:
        """What is spent, in words; None while a trial may be started."""
        if self.budget is None:
            return None
        now = time.monotonic()
        live = self._device_hours
        live += sum((now - began) * workers / HOUR for began, workers in self._running.values())
        used = dataclasses.replace(
            self._before,
            trials=self._before.trials + self._started,
            hours=(now - self._began) / HOUR,
            device_hours=self._before.device_hours + live,
            money=self._before.money + live * policy.price(here(), self.budget.rates),
        )
        return policy.exhausted(self.budget, used)
