"""Timestep fingerprints: how much the image tells about the mask at each noise level, in bits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator import bootstrap
from orchestrator.bootstrap import Array
from orchestrator.parts import coded
from trainables.metrics import ratio

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.tables import Tables

CURVES = (
    "eps_error",
    "eps_error_dropped",
    "information",
    "information_orthogonal",
    "one_step_dice",
)
COLUMNS = (
    *("digest", "task", "schedule", "case", "axis", "bin", "low", "high", "control", "pixels"),
    *("draws", "t_sum", "log_snr_sum", "eps_error_sum", "eps_gap_sum", "tp", "fp", "fn"),
)
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("study", "task", "cell", "schedule", "axis", "curve")),
        *((k, pa.int64()) for k in ("seeds", "images", "bin")),
        *((k, pa.float64()) for k in ("bin_low", "bin_high", "at", "value", "low", "high")),
    ]
)


def rows(tables: Tables) -> pa.Table:
    """One row per study, cell, axis, curve and stratum, with a 95 % interval over cases.

    Curves, all per pixel: ``eps_error`` and ``eps_error_dropped``, the mean squared ε-error with
    and without the image; ``information``, half their difference, and ``information_orthogonal``,
    half the squared distance of the two estimates: nats per unit of λ turned into bits. Their
    areas over λ estimate what the image tells within the λ range that the network was trained on:
    I(mask; image) less the tails beyond it. ``one_step_dice``: of the x0 estimate with the image.
    """
    found = [row for probed in cells(tables) for part in probed.alike() for row in _rows(part)]
    found.sort(key=lambda row: [row[k] for k in ("study", "cell", "axis", "bin")])
    return pa.Table.from_pylist(found, schema=SCHEMA)


@dataclass(frozen=True)
class Probed:
    """What a cell's final trials were probed with, along one axis; arrays are [rows, strata].

    A row is one case as one training run saw it.
    """

    about: dict[str, str]
    runs: NDArray[np.int64]
    cases: NDArray[np.int64]
    bins: NDArray[np.int64]
    low: Array
    high: Array
    present: NDArray[np.bool_]
    at: Array
    curves: dict[str, Array]

    @property
    def counted(self) -> Array:
        """How often each row counts in each resample."""
        return bootstrap.weights(self.runs, self.cases)

    def some(self, rows: NDArray[np.bool_], strata: NDArray[np.bool_]) -> Probed:
        """Some rows and strata of it."""
        both = np.ix_(rows, strata)
        return Probed(
            self.about,
            self.runs[rows],
            self.cases[rows],
            self.bins[strata],
            self.low[strata],
            self.high[strata],
            self.present[both],
            self.at[both],
            {curve: values[both] for curve, values in self.curves.items()},
        )

    def alike(self) -> Iterator[Probed]:
        """In parts, each of the strata that have the same rows: they are resampled together."""
        for pattern in np.unique(self.present, axis=1).T:
            yield self.some(pattern, (self.present == pattern[:, None]).all(0))


def cells(tables: Tables) -> Iterator[Probed]:
    """Probes of the finished final trials of every study and cell, along each axis."""
    studies = cast("pd.DataFrame", tables["studies"].to_pandas())
    trials = cast("pd.DataFrame", tables["trials"].to_pandas())
    finished = set(trials.loc[trials["outcome"] == "finished", "digest"])
    final = studies[(studies["stage"] == "final") & studies["digest"].isin(finished)]
    probes = tables["probes"].select(COLUMNS).combine_chunks()
    digests, codes = coded(probes["digest"])
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(digests) + 1))
    place = {d: order[starts[i] : starts[i + 1]] for i, d in enumerate(digests)}
    for (study, cell), group in final.groupby(["study", "cell"]):
        mine = [place[d] for d in sorted(set(group["digest"])) if d in place]
        if mine:
            found = probes.take(np.concatenate(mine))
            for axis in ("log_snr", "t"):
                along = found.filter(pc.field("axis") == axis)
                if along.num_rows:
                    yield _probed({"study": str(study), "cell": str(cell), "axis": axis}, along)


def _probed(about: dict[str, str], probes: pa.Table) -> Probed:
    """Rows of some trials along one axis, laid out; what is missing is NaN."""
    cases, case = coded(probes["case"])
    _, run = coded(probes["digest"])
    keys, row = np.unique(run * len(cases) + case, return_inverse=True)
    numbers = {name: probes[name].to_numpy() for name in ("bin", "low", "high")}
    bins, first, stratum = np.unique(numbers["bin"], return_index=True, return_inverse=True)
    present = np.zeros((len(keys), len(bins)), bool)
    present[row, stratum] = True
    controls, of_row = coded(probes["control"])
    control_of = np.array(controls)[of_row]

    def laid_out(column: str, control: str = "image") -> Array:
        values, mine = np.full(present.shape, np.nan), control_of == control
        values[row[mine], stratum[mine]] = probes[column].to_numpy()[mine]
        return values

    draws = laid_out("draws")
    per_pixel = 1 / (draws * laid_out("pixels"))
    error = laid_out("eps_error_sum") * per_pixel
    error_dropped = laid_out("eps_error_sum", "dropped") * per_pixel
    tp, fp, fn = (laid_out(column) for column in ("tp", "fp", "fn"))
    return Probed(
        about={**about, **{k: probes[k][0].as_py() for k in ("task", "schedule")}},
        runs=keys // len(cases),
        cases=keys % len(cases),
        bins=bins,
        low=numbers["low"][first],
        high=numbers["high"][first],
        present=present,
        at=laid_out(f"{about['axis']}_sum") / draws,
        curves={
            "eps_error": error,
            "eps_error_dropped": error_dropped,
            "information": (error_dropped - error) / (2 * math.log(2)),
            "information_orthogonal": laid_out("eps_gap_sum") * per_pixel / (2 * math.log(2)),
            "one_step_dice": (2 * tp + 1e-9) / (2 * tp + fp + fn + 1e-9),
        },
    )


def _rows(probed: Probed) -> Iterator[dict[str, Any]]:
    """The view's rows, of strata that have the same rows."""
    seeds = len(np.unique(probed.runs))
    counts = {"seeds": seeds, "images": len(probed.runs) // seeds}
    values = np.stack([probed.curves[curve] for curve in CURVES], 1)
    numbers = bootstrap.mean_interval(values, probed.counted)
    at = probed.at.mean(0)
    for i, stratum in enumerate(probed.bins):
        edges = {"bin_low": float(probed.low[i]), "bin_high": float(probed.high[i])}
        about = {**probed.about, **counts, **edges, "bin": int(stratum), "at": float(at[i])}
        for k, curve in enumerate(CURVES):
            value, low, high = (float(number[k, i]) for number in numbers)
            yield {**about, "curve": curve, "value": value, "low": low, "high": high}


def summaries(tables: Tables) -> list[dict[str, Any]]:
    """Per study and cell: the area under each information curve, and where half of it lies."""
    found: list[dict[str, Any]] = []
    for probed in cells(tables):
        if probed.about["axis"] == "log_snr":
            whole = cast("NDArray[np.bool_]", probed.present.all(1))
            mine = probed.some(whole, np.ones(len(probed.bins), bool))
            found.append(
                {
                    **{k: probed.about[k] for k in ("study", "task", "cell", "schedule")},
                    "images": len(np.unique(mine.cases)),
                    "log_snr_low": float(probed.low.min()),
                    "log_snr_high": float(probed.high.max()),
                    **_areas(mine),
                }
            )
    return found


def _areas(probed: Probed) -> dict[str, float]:
    """Totals in bits per pixel and the half-information λ, each with its interval."""
    counted, width = probed.counted, probed.high - probed.low
    edges = np.array(sorted({*probed.low, *probed.high}))
    found: dict[str, float] = {}
    areas = np.empty(0)
    for curve in ("information", "information_orthogonal"):
        areas = probed.curves[curve] * width
        total, low, high = bootstrap.mean_interval(areas.sum(1), counted)
        found |= {curve: float(total), f"{curve}_low": float(low), f"{curve}_high": float(high)}
    # The second estimator is never negative, so its half is well defined.
    halves = half_information(counted @ areas / counted.sum(1, keepdims=True), edges)
    low, high = bootstrap.interval(halves)
    half = half_information(areas.mean(0), edges)
    return found | {"half": float(half), "half_low": float(low), "half_high": float(high)}


def half_information(areas: Array, edges: Array) -> Array:
    """The λ below which half of the area lies: areas [..., bins] ≥ 0, edges [bins + 1] rising."""
    cumulative = np.concatenate([np.zeros((*areas.shape[:-1], 1)), np.cumsum(areas, -1)], -1)
    half = cumulative[..., -1:] / 2
    at = np.maximum((cumulative[..., :-1] <= half).sum(-1, keepdims=True) - 1, 0)
    below, above = (np.take_along_axis(cumulative, at + i, -1) for i in (0, 1))
    found = edges[at] + (half - below) * ratio(edges[at + 1] - edges[at], above - below)
    return np.where(half > 0, found, np.nan)[..., 0]
