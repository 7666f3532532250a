"""The budget of a study: its own committed trials, and those that run now."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import Plan
from orchestrator.tables.snapshot import Snapshot
from search_spaces import Budget

HOUR = 3600.0
PROCESSOR = re.compile(r"\(\w+, [\w ]+\)$")
"""The end of a processor's name in :func:`trainables.runtime.environment.device_name`."""


@dataclass(frozen=True)
class Spent:
    """The spending of a study so far."""

    trials: int = 0
    hours: float = 0.0
    device_hours: float = 0.0
    money: float = 0.0


def exhausted(budget: Budget | None, spent: Spent) -> str | None:
    """Return the limit that is reached, as text; None while a trial may be started.

    >>> exhausted(Budget(trials=8, device_hours=2.0), Spent(trials=3, device_hours=2.1))
    '2.1 of 2 device-hours'
    """
    if budget is None:
        return None
    for name in ("trials", "hours", "device_hours", "money"):
        allowed, used = getattr(budget, name), getattr(spent, name)
        if allowed is not None and used >= allowed:
            unit = name.replace("device_hours", "device-hours")
            return f"{used:.4g} of {allowed:.4g} {unit}"
    return None


def price(device: str, rates: Mapping[str, float]) -> float:
    """Return the price of one hour of a device.

    The longest name in ``rates`` that the device's name contains decides, where ``cpu`` is part of
    every processor's name; if none does, the highest price counts.

    >>> price("NVIDIA H100 80GB HBM3", {"cpu": 0.04, "H100": 3.1}), price("TPU", {"cpu": 0.04})
    (3.1, 0.04)
    >>> price("Intel(R) Xeon(R) Processor (x86_64, AVX512)", {"cpu": 0.04, "H100": 3.1})
    0.04
    """
    full_name = f"{device} cpu" if PROCESSOR.search(device) else device
    matching = [name for name in rates if name.lower() in full_name.lower()]
    return rates[max(matching, key=len)] if matching else max(rates.values(), default=0.0)


def own_digests(plan: Plan, ledger: Ledger) -> set[str]:
    """Return the digests that were not committed when the study declared them, in any revision."""
    declared = ledger.studies.declared(plan.study, whole=True)
    details = ledger.studies.declarations(declared)
    return {d.digest for d in declared if not details[d.key].get("committed_before")}


def spent(plan: Plan, ledger: Ledger) -> Spent:
    """Return the spending by committed rows.

    An attempt that a later one replaced, such as a failure that was retried, does not count.
    """
    budget = plan.space.budget
    digests = own_digests(plan, ledger) if budget is not None else set[str]()
    if budget is None or not digests:
        return Spent()
    rows = Snapshot(ledger.store).table("trials", digests).to_pylist()
    hours = [((row["device_seconds"] or 0.0) / HOUR, row["device"] or "") for row in rows]
    return Spent(
        trials=len(rows),
        device_hours=sum(h for h, _ in hours),
        money=sum(h * price(device, budget.rates) for h, device in hours),
    )


@dataclasses.dataclass
class _Running:
    """A trial that runs."""

    began: float
    workers: int
    device: str | None = None

    def hours(self, now: float) -> float:
        """Return the device-hours of its workers so far."""
        return (now - self.began) * self.workers / HOUR


class BudgetMeter:
    """Measures the budget while a sweep runs.

    A running trial counts by the time that its workers have had. The price is that of the device
    that it reported; before its first report that of the last device that any trial reported, or
    else the highest price.
    """

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self.budget = plan.space.budget
        self._began = time.monotonic()
        self._device = ""
        self.renew(plan, ledger)

    def renew(self, plan: Plan, ledger: Ledger) -> None:
        """Count again from committed rows, between two rounds."""
        self._before = spent(plan, ledger)
        self._running: dict[str, _Running] = {}
        self._started, self._device_hours, self._money = 0, 0.0, 0.0

    def started(self, name: str, workers: int) -> None:
        """Count a trial from now on."""
        self._running[name] = _Running(time.monotonic(), workers)
        self._started += 1

    def runs_on(self, name: str, device: str) -> None:
        """Note the device of a running trial."""
        self._running[name].device = self._device = device

    def ended(self, name: str) -> None:
        """Stop the clock of a trial."""
        run, now = self._running.pop(name), time.monotonic()
        self._device_hours += run.hours(now)
        self._money += self._price(run, now)

    def exhausted(self) -> str | None:
        """Return the limit that is reached, as text; None while a trial may be started."""
        if self.budget is None:
            return None
        now, running = time.monotonic(), self._running.values()
        hours = self._device_hours + sum(run.hours(now) for run in running)
        money = self._money + sum(self._price(run, now) for run in running)
        used = dataclasses.replace(
            self._before,
            trials=self._before.trials + self._started,
            hours=(now - self._began) / HOUR,
            device_hours=self._before.device_hours + hours,
            money=self._before.money + money,
        )
        return exhausted(self.budget, used)

    def _price(self, run: _Running, now: float) -> float:
        rates = self.budget.rates if self.budget is not None else dict[str, float]()
        return run.hours(now) * price(run.device or self._device, rates)
