"""A committed trial trained again, here and without a cluster: what is the same, what is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.ledger.ledger import Ledger
from orchestrator.tables.snapshot import Snapshot
from trainables.config import Config, parse, unsaid
from trainables.decoding.cache import load
from trainables.runtime.environment import environment_of
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import KEY, SCHEMAS, Outcome, Row, Tables, to_arrow
from trainables.training.attempt import attempt, commit_unfinished
from trainables.training.loop import Progress

TOLERANCE = 0.02
"""Of a sum, where the machine, the threads, the workers, the packages or the code are others.

Sums of floating-point numbers in another order differ in their last bits, and training amplifies
that with every step. With two threads in place of one, 200 steps of a small diffusion network
moved no sum by more than 0.4 %; of its feed-forward twin, by 0.005 %.
"""
OF_A_TRIAL = (
    *("outcome", "steps", "best_step", "score", "parameters", "macs_per_pass"),
    *("passes_per_image", "probe_passes", "test_images"),
)
"""Of the ``trials`` row: what follows from the config. Times and memory do not."""
LABELS = ("step", "bin")
"""Numbers that say which row this is, as its words do."""
COUNTS = ("tp", "fp", "fn", "tn")
"""Pixels: a difference counts by the area of both masks together, not by that of an error."""

Verdict = Literal["identical", "close", "differs"]


@dataclass(frozen=True)
class Compared:
    """One number of a trial, or the sum of a column of its rows."""

    what: str
    stored: float | str | None
    again: float | str | None
    difference: float | None
    """Σ|again − stored| / Σ|stored| over rows; None where there are other rows."""
    verdict: Verdict


@dataclass(frozen=True)
class Setting:
    """What may change a result's last bits, and is not the same."""

    what: str
    stored: str
    here: str


@dataclass(frozen=True)
class Result:
    """How a trial came out when it was trained again."""

    compared: list[Compared]
    settings: list[Setting]

    @classmethod
    def of(cls, then: Stored, memory: Memory, place: WorkerContext) -> Result:
        """What is committed against what was found."""
        reason = memory.tables["trials"][0].get("reason")
        here = {
            **then.trial,
            **environment_of(place, then.config.model.package),
            "reason": reason,
            "code": memory.code,
        }
        return cls(compare(then, memory.tables), settings(then.trial, here))

    @property
    def reproduced(self) -> bool:
        """Bit by bit under the same settings, within :data:`TOLERANCE` under others."""
        verdicts = {c.verdict for c in self.compared}
        return verdicts == {"identical"} or bool(self.settings and "differs" not in verdicts)

    @property
    def verdict(self) -> str:
        """The whole in one line."""
        wrong = [c.what for c in self.compared if c.verdict != "identical"]
        if not wrong:
            return "reproduced, bit by bit"
        under = "under other settings" if self.settings else "under the same settings"
        if self.reproduced:
            return f"reproduced within {TOLERANCE:.0%} {under}"
        worst = [c.what for c in self.compared if c.verdict == "differs"] or wrong
        return f"NOT reproduced {under}: {', '.join(worst)}"


class Memory:
    """A :class:`trainables.training.attempt.Sink` that keeps what it is given, and nothing else."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.outcome: Outcome | None = None
        self.tables: Tables = {}
        self._checkpoint: bytes | None = None

    def done(self, digest: str) -> Outcome | None:
        return self.outcome

    def resume(self, digest: str) -> bytes | None:
        return self._checkpoint

    checkpoint = resume

    def keep(self, digest: str, checkpoint: bytes) -> None:
        self._checkpoint = checkpoint

    def alive(self, digest: str) -> None:
        """Nobody watches."""

    def commit(self, digest: str, outcome: Outcome, tables: Tables) -> None:
        self.outcome, self.tables = outcome, tables


@dataclass(frozen=True)
class Stored:
    """A committed attempt: its rows by table, and its config."""

    tables: dict[str, pa.Table]
    config: Config
    split: int = 1
    """How many times more parts its batches were passed in, for want of memory."""

    @property
    def trial(self) -> Row:
        """Its row of the ``trials`` table."""
        return self.tables["trials"].to_pylist()[0]


def stored(ledger: Ledger, digest: str) -> Stored:
    """What is committed under a digest.

    Raises:
        ValueError: nothing is; or its fields, data or formulas are not those of then.
    """
    snapshot = Snapshot(ledger.store)
    tables = {name: snapshot.table(name, [digest]) for name in SCHEMAS}
    if not tables["trials"].num_rows:
        raise ValueError(f"no committed trial has the digest {digest!r}")
    trial: Row = tables["trials"].to_pylist()[0]
    spec, code = json.loads(trial["config"]), f"check out the code it ran with, {trial['code']}"
    try:
        config = parse(spec)
    except ValueError as error:
        raise ValueError(f"{digest}: its config is none of this code's: {error}; {code}") from None
    younger = unsaid(spec, config.plain())
    if younger and config.digest() != digest:
        raise ValueError(
            f"{digest}: stored before there was {', '.join(younger)}, and a digest covers every"
            f" field with its default: the same config is {config.digest()} now; {code}"
        )
    found = load(config.task).content_hash
    if found != trial["data_hash"]:
        raise ValueError(
            f"{digest}: the data of {config.task.title} have changed: their hash is {found}, it"
            f" was {trial['data_hash']}"
        )
    if config.digest() != digest:
        raise ValueError(
            f"{digest}: its formulas have changed: the same config is {config.digest()} now; {code}"
        )
    short = trial["outcome"] == "finished" and trial["reason"]
    return Stored(
        tables, config, ledger.failed_attempts.microbatch_factors([digest])[digest] if short else 1
    )


def again(then: Stored, memory: Memory, place: WorkerContext) -> Iterator[Progress]:
    """Train it again into memory; a pruned trial as far as it came."""
    for progress in attempt(then.config, memory, place):
        yield progress
        reached = progress.score is not None and progress.step >= then.trial["steps"]
        if then.trial["outcome"] == "pruned" and reached:
            commit_unfinished(
                then.config, memory, "pruned", "", environment_of(place, then.config.model.package)
            )
            return


def settings(then: Row, now: Row) -> list[Setting]:
    """Whatever may change the last bits and is not known to be the same."""
    return [
        Setting(what, str(_or_unknown(old.get(what))), str(_or_unknown(new.get(what))))
        for old, new in [(_settings(then), _settings(now))]
        for what in dict.fromkeys([*old, *new])
        if old.get(what) is None or old.get(what) != new.get(what)
    ]


def _settings(trial: Row) -> dict[str, Any]:
    devices = json.loads(trial["devices"]) if trial["devices"] else [trial["device"]]
    changed = str(trial["code"]).endswith("+")  # and who knows how
    return {
        "code": None if changed else trial["code"],
        "device": None if None in devices else ", ".join(dict.fromkeys(devices)),
        "threads": trial["threads"],
        "workers": trial["world_size"],
        "batch": (trial["outcome"] == "finished" and trial["reason"]) or "as configured",
        **json.loads(trial["packages"] or "{}"),
    }


def _or_unknown(value: Any) -> Any:
    return "unknown" if value is None else value


def compare(then: Stored, tables: Tables) -> list[Compared]:
    """Every number that follows from the config, as committed and as found again.

    Pictures are left out: they show what the sums tell, rounded to 8 bits. So are logs, which say
    when.
    """
    key = {name: then.trial[name] for name in KEY}
    found: list[Compared] = []
    for name, old in then.tables.items():
        new = to_arrow(name, tables.get(name, []), key)
        if name == "trials":
            found += _of_a_trial(then.trial, new.to_pylist()[0])
        elif name not in ("pictures", "logs") and (old.num_rows or new.num_rows):
            found += _of_rows(name, old, new)
    return found


def _of_a_trial(then: Row, now: Row) -> Iterator[Compared]:
    for name in OF_A_TRIAL:
        old, new = then[name], now[name]
        if old is None and new is None:
            continue
        far = None
        if isinstance(old, (int, float)) and isinstance(new, (int, float)):
            far = abs(new - old) / (abs(old) or 1)
        yield Compared(f"trials.{name}", old, new, far, _verdict(old == new, far))


def _of_rows(name: str, then: pa.Table, now: pa.Table) -> Iterator[Compared]:
    columns = [f for f in SCHEMAS[name] if f.name not in (*KEY, "seconds")]
    if "reading" in then.column_names:  # what was not read yet when it was committed is no error
        now = now.filter(pc.field("reading").isin(then["reading"].unique()))
    labels = [f.name for f in columns if pa.types.is_string(f.type) or f.name in LABELS]
    numbers = [f.name for f in columns if f.name not in labels]
    old, new = (_sorted(table, labels) for table in (then, now))
    same_rows = old.select(labels).equals(new.select(labels))
    same = {number: bool(same_rows and old[number].equals(new[number])) for number in numbers}
    if name == "calibration":  # a probability that moves by its last bit may change its bin
        labels.remove("bin")
        old, new = (_summed(table, labels, numbers) for table in (old, new))
    comparable = old.select(labels).equals(new.select(labels))
    for number in numbers:
        a, b = _floats(old[number]), _floats(new[number])
        area = sum(_floats(old[c]).sum() for c in COUNTS[:3]) if number in COUNTS else 0.0
        scale = area or abs(a).sum() or 1.0
        far = float(abs(b - a).sum() / scale) if comparable and len(a) == len(b) else None
        verdict = _verdict(same[number], far)
        yield Compared(f"{name}.{number}", float(a.sum()), float(b.sum()), far, verdict)


def _verdict(same: bool, difference: float | None) -> Verdict:
    if same:
        return "identical"
    return "close" if difference is not None and difference <= TOLERANCE else "differs"


def _sorted(table: pa.Table, by: list[str]) -> pa.Table:
    return table.sort_by([(column, "ascending") for column in by])


def _summed(table: pa.Table, by: list[str], numbers: list[str]) -> pa.Table:
    """Sums over the rows with the same labels, in order."""
    sums = table.group_by(by).aggregate([(number, "sum") for number in numbers])
    return _sorted(sums.rename_columns({f"{number}_sum": number for number in numbers}), by)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Its numbers; those of lists one after the other."""
    if pa.types.is_list(column.type):
        return np.concatenate([[], *column.to_numpy()])
    return column.cast(pa.float64()).fill_null(pa.scalar(0.0)).to_numpy()
