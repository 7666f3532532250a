"""The trials of a study that run or were interrupted, from their leases alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.formatting import clock
from orchestrator.ledger.declared import Declaration, Declared
from orchestrator.ledger.leases import Lease
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.short_names import short_names
from orchestrator.planning.trial_state import LEASE_SECONDS
from orchestrator.tables.snapshot import Snapshot
from trainables.training.run_status import RunStatus


@dataclass(frozen=True)
class RunningTrial:
    """A trial that is trained, or whose process gave no sign of life for long."""

    declared: Declared
    name: str
    """Its cell, by what differs between the cells of the study, its stage and its number."""
    values: Mapping[str, Any]
    """The suggested values of a search trial."""
    alive: bool
    """Whether its process gave a sign of life recently."""
    age: float
    """Seconds since the last sign of life."""
    status: RunStatus
    """How far it was then."""
    test_seconds: float | None
    """The median duration of the final test of the cell's committed trials; None without one."""

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until it ends, as of now; None while that is not known."""
        left = self.status.training_left
        if not self.alive or left is None or self.status.phase == "testing":
            return None
        return max(0.0, left - self.age) + (self.test_seconds or 0.0)

    @property
    def time_left(self) -> str | None:
        """The time that is left, as text."""
        if self.seconds_left is None:
            return self.status.phase if self.alive else None
        text = clock(self.seconds_left)
        return text if self.test_seconds is not None else f"{text} + test"

    @property
    def row(self) -> dict[str, Any]:
        """The trial as plain data."""
        status = self.status
        return {
            "cell": self.declared.cell,
            "stage": self.declared.stage,
            "index": self.declared.index,
            "digest": self.declared.digest,
            "values": dict(self.values),
            "alive": self.alive,
            "last_sign_seconds": round(self.age, 1),
            "phase": status.phase,
            "step": status.step,
            "steps": status.steps,
            "score": status.score,
            "steps_per_second": status.steps_per_second,
            "seconds_left": self.seconds_left,
            "device": status.device,
            "host": status.host,
            "workers": status.workers,
        }


def running_trials(
    ledger: Ledger,
    declared: Iterable[Declared],
    ended: Iterable[str],
    leases: Mapping[str, Lease] | None = None,
) -> list[RunningTrial]:
    """Return the trials with a lease; those whose keys have ``ended`` do not run.

    Reads the ``leases``, unless they are given, and the declarations of these trials only.
    """
    slots, over = list(declared), set(ended)
    leases = ledger.leases.all() if leases is None else leases
    leased = [slot for slot in slots if slot.digest in leases and slot.key not in over]
    if not leased:
        return []
    declarations = ledger.studies.undamaged(leased)
    names = cell_names({slot.cell for slot in slots}, leased, declarations)
    tests = _test_seconds(ledger, slots, {slot.cell for slot in leased})
    trials: list[RunningTrial] = []
    for slot in leased:
        lease, declaration = leases[slot.digest], declarations.get(slot.key)
        trial = RunningTrial(
            declared=slot,
            name=f"{names[slot.cell]} {slot.stage} {slot.index}",
            values=declaration["values"] if declaration is not None else {},
            alive=not lease.process.dead() and lease.age < LEASE_SECONDS,
            age=max(0.0, lease.age),
            status=lease.status or RunStatus(host=lease.process.host),
            test_seconds=tests.get(slot.cell),
        )
        trials.append(trial)
    return trials


def cell_names(
    cells: Iterable[str], slots: Iterable[Declared], declarations: Mapping[str, Declaration]
) -> dict[str, str]:
    """Return each cell by what differs; the only cell of a study by its task, model and mode."""
    names = short_names(sorted(cells))
    if len(names) == 1:
        for slot in slots:
            config = declarations[slot.key]["config"] if slot.key in declarations else {}
            parts = [_part_name(config.get(kind)) for kind in ("task", "model", "mode")]
            return {slot.cell: " ".join(filter(None, parts)) or slot.cell}
    return names


def _part_name(plain: object) -> str:
    """Return the name of a part in plain form: a text, or a mapping of the name to its fields."""
    if isinstance(plain, Mapping):
        return next((str(name) for name in plain), "")  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return str(plain or "")


def _test_seconds(ledger: Ledger, slots: list[Declared], cells: set[str]) -> dict[str, float]:
    """Return the median duration of the final test per cell, of its committed trials."""
    cell_of = {slot.digest: slot.cell for slot in slots if slot.cell in cells}
    table = Snapshot(ledger.store).table("trials").select(["digest", "outcome", "reading_seconds"])
    seconds: dict[str, list[float]] = {}
    for row in table.to_pylist():
        digest, reading = row["digest"], row["reading_seconds"]
        if digest in cell_of and row["outcome"] == "finished" and reading is not None:
            seconds.setdefault(cell_of[digest], []).append(float(reading))
    return {cell: statistics.median(values) for cell, values in seconds.items()}
