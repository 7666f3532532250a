"""What a study has spent: committed trials that it trained itself, and what has run since."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import Plan
from orchestrator.tables.snapshot import Snapshot
from search_spaces import Budget

HOUR = 3600.0


@dataclass(frozen=True)
class Spent:
    """What a study has used so far."""

    trials: int = 0
    hours: float = 0.0
    device_hours: float = 0.0
    money: float = 0.0


def exhausted(budget: Budget | None, spent: Spent) -> str | None:
    """What of a budget is spent, in words; None while a trial may be started.

    >>> exhausted(Budget(trials=8, device_hours=2.0), Spent(trials=3, device_hours=2.1))
    '2.1 of 2 device-hours'
    """
    if budget is None:
        return None
    for name in ("trials", "hours", "device_hours", "money"):
        allowed, used = getattr(budget, name), getattr(spent, name)
        if allowed is not None and used >= allowed:
            word = name.replace("device_hours", "device-hours")
            return f"{used:.4g} of {allowed:.4g} {word}"
    return None


def price(device: str, rates: Mapping[str, float]) -> float:
    """Of an hour of a device: by the longest of the names that its own contains, else the dearest.

    >>> price("NVIDIA H100 80GB HBM3", {"cpu": 0.04, "H100": 3.1}), price("TPU", {"cpu": 0.04})
    (3.1, 0.04)
    """
    named = [name for name in rates if name.lower() in device.lower()]
    return rates[max(named, key=len)] if named else max(rates.values(), default=0.0)


def own(made: Plan, ledger: Ledger) -> set[str]:
    """Digests that were not committed yet when the study declared them, in any revision."""
    declared = ledger.studies.declared(made.study, whole=True)
    about = ledger.studies.declarations(declared)
    return {d.digest for d in declared if not about[d.key].get("committed_before")}


def spent(made: Plan, ledger: Ledger) -> Spent:
    """By committed rows. An attempt that another one replaced, such as a failure that was tried
    again, has none.
    """
    budget = made.space.budget
    digests = own(made, ledger) if budget is not None else set[str]()
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
    """A trial that was handed out."""

    began: float
    workers: int
    device: str | None = None

    def hours(self, now: float) -> float:
        """Of its workers so far."""
        return (now - self.began) * self.workers / HOUR


class BudgetMeter:
    """A budget while a sweep runs. A trial that was started counts before it is committed, by the
    time that its workers have had, at the price of the device that they said they run on; until
    then, of the last device that one said, or else of the dearest.
    """

    def __init__(self, made: Plan, ledger: Ledger) -> None:
        self.budget = made.space.budget
        self._began = time.monotonic()
        self._device = ""
        self.renew(made, ledger)

    def renew(self, made: Plan, ledger: Ledger) -> None:
        """Count anew by what is committed, when nothing runs."""
        self._before = spent(made, ledger)
        self._running: dict[str, _Running] = {}
        self._started, self._device_hours, self._money = 0, 0.0, 0.0

    def started(self, name: str, workers: int) -> None:
        """A trial was handed out."""
        self._running[name] = _Running(time.monotonic(), workers)
        self._started += 1

    def runs_on(self, name: str, device: str) -> None:
        """A trial said what it runs on."""
        self._running[name].device = self._device = device

    def ended(self, name: str) -> None:
        """It has ended."""
        run, now = self._running.pop(name), time.monotonic()
        self._device_hours += run.hours(now)
        self._money += self._price(run, now)

    def empty(self) -> str | None:
        """What is spent, in words; None while a trial may be started."""
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
        rates = self.budget.rates if self.budget is not None else {}
        return run.hours(now) * price(run.device or self._device, rates)
