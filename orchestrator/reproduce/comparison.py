"""The comparison of a committed trial with the same trial trained again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.ledger.commits import labels_of
from orchestrator.ledger.parquet import fields
from orchestrator.reproduce.trial import InMemorySink, StoredTrial
from orchestrator.tables.published import as_published
from trainables.runtime.environment import environment_of
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import ABOUT, KEY, SCHEMAS, Row, Tables, to_arrow

TOLERANCE = 0.02
"""The relative difference that is allowed between sums where the settings differ.

Sums of floating-point numbers in another order differ in their last bits, and training amplifies
that with every step. With two threads in place of one, 200 steps of a small diffusion network
moved no sum by more than 0.4 %; of its feed-forward twin, by 0.005 %.
"""
EXACT_COLUMNS = (
    *(*ABOUT, "seed", "outcome", "steps", "parameters", "macs_per_pass", "passes_per_image"),
    *("probe_passes", "test_images"),
)
"""Columns of the ``trials`` table that the config decides on any hardware."""
TRIAL_COLUMNS = (*EXACT_COLUMNS, "best_step", "score")
"""Columns of the ``trials`` table that follow from the config; times and memory do not."""
INDICES = ("step", "bin")
"""Numeric columns that identify a row, as texts do."""
COUNTS = ("tp", "fp", "fn", "tn")
"""Counts of pixels. Their differences are relative to the area of both masks, since the number of
wrong pixels may be small.
"""
SOFTWARE = ("code",)
"""Settings that change no integer: with the same hardware and packages, counts are the same."""
YOUNGER = ("surfaces", "annotators", "samples.truth_area_gap_sum", "samples.member_area_gap_sum")
"""Tables and columns that earlier versions did not write: compared where the stored trial has
values of them."""
NOT_COMPARED = ("pictures", "logs")
"""Pictures show the compared sums, rounded to 8 bits; logs contain times."""

Verdict = Literal["identical", "close", "differs"]


@dataclass(frozen=True)
class Comparison:
    """One number of a trial, or the sum of one column of its rows."""

    what: str
    stored: float | str | None
    again: float | str | None
    difference: float | None
    """Σ|again − stored| / Σ|stored| over rows; None where the rows are different ones."""
    verdict: Verdict


@dataclass(frozen=True)
class SettingDifference:
    """A setting that may change a result's last bits, and is not known to be the same."""

    what: str
    stored: str
    here: str


@dataclass(frozen=True)
class Reproduction:
    """The result of training a committed trial again."""

    compared: list[Comparison]
    settings: list[SettingDifference]

    @property
    def reproduced(self) -> bool:
        """Whether it is identical, or within :data:`TOLERANCE` under different settings."""
        verdicts = {c.verdict for c in self.compared}
        return verdicts == {"identical"} or bool(self.settings and "differs" not in verdicts)

    @property
    def verdict(self) -> str:
        """The result in one line."""
        changed = [c.what for c in self.compared if c.verdict != "identical"]
        if not changed:
            return "reproduced, bit by bit"
        under = "under other settings" if self.settings else "under the same settings"
        if self.reproduced:
            return f"reproduced within {TOLERANCE:.0%} {under}"
        failed = [c.what for c in self.compared if c.verdict == "differs"] or changed
        return f"NOT reproduced {under}: {', '.join(failed)}"


def reproduction(stored: StoredTrial, sink: InMemorySink, context: WorkerContext) -> Reproduction:
    """Compare a committed trial with the one that was trained again into ``sink``."""
    here = {
        **stored.trial,
        **environment_of(context, stored.config.model.package),
        "reason": sink.tables["trials"][0].get("reason"),
        "code": sink.code,
    }
    differences = setting_differences(stored.trial, here)
    same_hardware = all(difference.what in SOFTWARE for difference in differences)
    compared = compare(stored, sink.tables, same_hardware=same_hardware)
    return Reproduction(compared, differences)


def setting_differences(stored: Row, here: Row) -> list[SettingDifference]:
    """Return the settings of two ``trials`` rows that differ, or that the stored one lacks."""
    old, new = _settings(stored), _settings(here)
    return [
        SettingDifference(name, str(_or_unknown(old.get(name))), str(_or_unknown(new.get(name))))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) is None or old.get(name) != new.get(name)
    ]


def _settings(trial: Row) -> dict[str, Any]:
    """Return the settings in a ``trials`` row, by the name that is printed; None: unknown."""
    devices = json.loads(trial["devices"]) if trial["devices"] else [trial["device"]]
    uncommitted = str(trial["code"]).endswith("+")  # the difference to the commit is unknown
    packages = json.loads(trial["packages"] or "{}")
    # Some kernels of a GPU add numbers in an order that changes from run to run.
    on_gpu = {"order of sums on a GPU": None} if "cuda" in packages else {}
    return {
        "code": None if uncommitted else trial["code"],
        "device": None if None in devices else ", ".join(dict.fromkeys(devices)),
        "threads": trial["threads"],
        "workers": trial["world_size"],
        "batch": (trial["outcome"] == "finished" and trial["reason"]) or "as configured",
        **packages,
        **on_gpu,
    }


def _or_unknown(value: object) -> object:
    return "unknown" if value is None else value


def compare(stored: StoredTrial, tables: Tables, *, same_hardware: bool = True) -> list[Comparison]:
    """Compare every number that follows from the config with rows by table.

    The new rows say what is expected: a table that the stored trial lacks differs. Integers may
    differ only on other hardware.
    """
    key = {**{name: stored.trial[name] for name in KEY}, **labels_of(tables["trials"][0])}
    comparisons: list[Comparison] = []
    for name, old in stored.tables.items():
        new = to_arrow(name, tables.get(name, []), key)
        new = as_published(name, new) if stored.published else new
        if name == "trials":
            comparisons += _compare_trials(stored.trial, new.to_pylist()[0])
        elif name not in NOT_COMPARED and (old.num_rows or (new.num_rows and name not in YOUNGER)):
            expected = {"sample", *stored.config.test.controls}
            comparisons += _compare_tables(name, old, new, expected)
    return [_without_tolerance(c, same_hardware=same_hardware) for c in comparisons]


def _without_tolerance(compared: Comparison, *, same_hardware: bool) -> Comparison:
    """Return the comparison with the verdict "differs" where no tolerance applies."""
    table, column = compared.what.split(".", 1)
    types = {field.name: field.type for field in fields(SCHEMAS[table])}
    integer = pa.types.is_integer(types[column])
    exact = (table == "trials" and column in EXACT_COLUMNS) or (integer and same_hardware)
    return (
        replace(compared, verdict="differs") if exact and compared.verdict == "close" else compared
    )


def _compare_trials(old_row: Row, new_row: Row) -> Iterator[Comparison]:
    for name in TRIAL_COLUMNS:
        old, new = old_row[name], new_row[name]
        if old is None and new is None:
            continue
        difference = None
        if isinstance(old, (int, float)) and isinstance(new, (int, float)):
            difference = abs(new - old) / (abs(old) or 1)
        verdict = _verdict(identical=old == new, difference=difference)
        yield Comparison(f"trials.{name}", old, new, difference, verdict)


def _compare_tables(
    name: str, old: pa.Table, new: pa.Table, expected: set[str]
) -> Iterator[Comparison]:
    """Compare each number, summed over the rows that the texts and indices identify.

    ``expected`` are the readings that follow from the config.
    """
    columns = [f for f in fields(SCHEMAS[name]) if f.name not in ("digest", "attempt", "seconds")]
    if "reading" in old.column_names:  # readings that are newer than the attempt are no difference
        readings = [*cast("list[str]", old["reading"].unique().to_pylist()), *expected]
        new = new.filter(cast("Any", pc.field("reading")).isin(readings))
    labels = [f.name for f in columns if pa.types.is_string(f.type) or f.name in INDICES]
    absent = [c for c in old.column_names if old[c].null_count == old.num_rows]
    younger = [c for c in absent if f"{name}.{c}" in YOUNGER]
    numbers = [f.name for f in columns if f.name not in (*labels, *younger)]
    old, new = _sorted(old, labels), _sorted(new, labels)
    same_rows = old.select(labels).equals(new.select(labels))
    identical = {n: bool(same_rows and old[n].equals(new[n])) for n in numbers}
    if (
        "bin" in labels and name != "probes"
    ):  # a probability that moves by its last bit may change its bin
        labels.remove("bin")
        old, new = _summed(old, labels, numbers), _summed(new, labels, numbers)
    comparable = old.select(labels).equals(new.select(labels))
    for number in numbers:
        before, after = _floats(old[number]), _floats(new[number])
        area = sum(_floats(old[c]).sum() for c in COUNTS[:3]) if number in COUNTS else 0.0
        scale = area or abs(before).sum() or 1.0
        difference = (
            float(abs(after - before).sum() / scale)
            if comparable and len(before) == len(after)
            else None
        )
        verdict = _verdict(identical=identical[number], difference=difference)
        sums = float(before.sum()), float(after.sum())
        yield Comparison(f"{name}.{number}", *sums, difference, verdict)


def _verdict(*, identical: bool, difference: float | None) -> Verdict:
    if identical:
        return "identical"
    return "close" if difference is not None and difference <= TOLERANCE else "differs"


def _sorted(table: pa.Table, by: Sequence[str]) -> pa.Table:
    return cast("Any", table).sort_by([(column, "ascending") for column in by])


def _summed(table: pa.Table, by: list[str], numbers: list[str]) -> pa.Table:
    """Return the sums over the rows with the same labels, in order."""
    sums = table.group_by(by).aggregate([(number, "sum") for number in numbers])
    return _sorted(sums.rename_columns({f"{number}_sum": number for number in numbers}), by)


def _floats(column: pa.ChunkedArray[Any]) -> NDArray[np.float64]:
    """Return the numbers of a column, null as 0; those of lists one after the other."""
    if pa.types.is_list(column.type):
        lists: list[NDArray[np.float64]] = list(cast("Any", column).to_numpy())
        return np.concatenate([np.empty(0), *lists])
    numbers = cast("pa.ChunkedArray[Any]", column.cast(pa.float64()))
    return numbers.fill_null(pa.scalar(0.0)).to_numpy()
