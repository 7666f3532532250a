"""What final diffusion trials were probed with, laid out as curves: one row per case and run."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.fingerprint.pixelwise_bound import Pixelwise
from orchestrator.heldout.final_cells import final_cells
from orchestrator.heldout.rows import SAMPLE, HeldOutRows
from orchestrator.ledger.parquet import coded
from orchestrator.statistics import bootstrap
from orchestrator.statistics.bootstrap import Array

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

MEASURED = (
    "eps_error",
    "eps_error_dropped",
    "information",
    "information_orthogonal",
    "one_step_dice",
)
CONTROLS = ("shuffled_image", "random_mask", "shuffled_mask")
COLUMNS = (
    *(
        "digest",
        "task",
        "model",
        "schedule",
        "case",
        "group",
        "axis",
        "bin",
        "low",
        "high",
        "control",
    ),
    *("pixels", "draws", "t_sum", "log_snr_sum", "x0_error_sum", "eps_error_sum", "eps_gap_sum"),
    *("tp", "fp", "fn"),
)


@dataclass(frozen=True)
class Probed:
    """What a cell's final trials were probed with, along one axis; arrays are [rows, strata].

    A row is one case as one training run saw it. ``runs`` and ``cases`` are places in ``digests``
    and ``names``, ``groups`` numbers of the patients, slides or slabs. Curves are per pixel and NaN
    where a row lacks them: ``eps_error`` with the image, ``_dropped`` without it, ``_CONTROL``
    under a control, ``x0_error`` with the image;
    ``information`` by difference and ``information_orthogonal``, bits per unit of λ;
    ``one_step_dice``.
    """

    about: dict[str, str]
    config: Mapping[str, Any]
    digests: list[str]
    names: list[str]
    runs: NDArray[np.int64]
    cases: NDArray[np.int64]
    groups: NDArray[np.int64]
    bins: NDArray[np.int64]
    low: Array
    high: Array
    present: NDArray[np.bool_]
    at: Array
    pixels: Array
    """Of each row: [rows]."""
    pixelwise: Pixelwise | None
    """None where the encoding's channels are not known from the counts."""
    curves: dict[str, Array]

    @property
    def counted(self) -> Array:
        """How often each row counts in each resample."""
        return bootstrap.weights(self.runs, self.units)

    @property
    def units(self) -> NDArray[np.int64]:
        """What each row is resampled as."""
        return bootstrap.units(self.cases, self.groups)

    @property
    def edges(self) -> Array:
        """[strata + 1], rising; strata tile the axis."""
        return np.array([*self.low, self.high[-1]])

    @property
    def encoding(self) -> tuple[str, float]:
        """Its name, and its scale."""
        return _encoding(self.config)

    @property
    def offset(self) -> float:
        """The encoding's."""
        return float(_fields(self.config)[1].get("offset", 0.0))

    def some(self, rows: NDArray[np.bool_], strata: NDArray[np.bool_]) -> Probed:
        """Some rows and strata of it."""
        both = np.ix_(rows, strata)
        pixelwise = self.pixelwise
        if pixelwise is not None:
            pixelwise = Pixelwise(pixelwise.shares[rows], pixelwise.scale)
        return dataclasses.replace(
            self,
            runs=self.runs[rows],
            cases=self.cases[rows],
            groups=self.groups[rows],
            bins=self.bins[strata],
            low=self.low[strata],
            high=self.high[strata],
            present=self.present[both],
            at=self.at[both],
            pixels=self.pixels[rows],
            pixelwise=pixelwise,
            curves={curve: values[both] for curve, values in self.curves.items()},
        )

    def alike(self) -> Iterator[Probed]:
        """In parts, each of the strata that have the same rows: they are resampled together."""
        for pattern in np.unique(self.present, axis=1).T:
            yield self.some(pattern, (self.present == pattern[:, None]).all(0))

    def whole(self) -> Probed:
        """The rows that have every stratum: what an area can be taken of."""
        whole = cast("NDArray[np.bool_]", self.present.all(1))
        return self.some(whole, np.ones(len(self.bins), bool))


def cells(tables: Catalog) -> Iterator[Probed]:
    """Probes of the finished final trials of every study and cell, along each axis."""
    studies = tables["studies"].to_pandas()
    trials = tables["trials"].to_pandas()
    finished = set(trials.loc[trials["outcome"] == "finished", "digest"])
    final = studies[(studies["stage"] == "final") & studies["digest"].isin(finished)]
    probes = tables["probes"].select(COLUMNS).combine_chunks()
    digests, codes = coded(probes["digest"])
    if not digests:
        return
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(digests) + 1))
    place = {d: order[starts[i] : starts[i + 1]] for i, d in enumerate(digests)}
    cases = HeldOutRows("cases", tables["cases"], set(digests))
    tasks = {cell.key: cell.task for cell in final_cells(tables)}
    for (study, cell), group in final.groupby(["study", "cell"]):
        mine = [place[d] for d in sorted(set(group["digest"])) if d in place]
        if mine:
            found = probes.take(np.concatenate(mine))
            first = group.iloc[0]
            about = {"study": str(study), "cell": str(cell), "arm": str(first["arm"])}
            about["task"] = tasks[str(study), str(cell)]
            config = json.loads(first["config"])
            for axis in ("log_snr", "t"):
                along = found.filter(pc.field("axis") == axis)
                if along.num_rows:
                    yield _probed({**about, "axis": axis}, config, along, cases)


def _probed(
    about: dict[str, str], config: Mapping[str, Any], probes: pa.Table, tested: HeldOutRows
) -> Probed:
    """Rows of some trials along one axis, laid out; what is missing is NaN."""
    cases, case = coded(probes["case"])
    digests, run = coded(probes["digest"])
    _, group = coded(probes["group"])
    keys, of, row = np.unique(run * len(cases) + case, return_index=True, return_inverse=True)
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

    draws, pixels = laid_out("draws"), laid_out("pixels")
    per_pixel = 1 / (draws * pixels)
    tp, fp, fn = (laid_out(column) for column in ("tp", "fp", "fn"))
    runs, at = keys // len(cases), keys % len(cases)
    ones = np.nanmax((tp + fn) * per_pixel, axis=1, initial=0.0)
    # A probed tile is called like the test case that it is a part of, and its place in it.
    rows = [(digests[r], cases[c].rpartition("/")[0]) for r, c in zip(runs, at, strict=True)]
    return Probed(
        about={**about, **{k: probes[k][0].as_py() for k in ("model", "schedule")}},
        config=config,
        digests=digests,
        names=cases,
        runs=runs,
        cases=at,
        groups=group[of],
        bins=bins,
        low=numbers["low"][first],
        high=numbers["high"][first],
        present=present,
        at=laid_out(f"{about['axis']}_sum") / draws,
        pixels=np.nanmax(pixels, axis=1, initial=0.0),
        pixelwise=_pixelwise(_encoding(config), ones, rows, tested),
        curves={
            **_errors(laid_out, per_pixel, set(controls)),
            "one_step_dice": (2 * tp + 1e-9) / (2 * tp + fp + fn + 1e-9),
        },
    )


def _errors(laid_out: Any, per_pixel: Array, controls: set[str]) -> dict[str, Array]:
    """Curves made of errors; of further controls, those that were probed."""
    error = laid_out("eps_error_sum") * per_pixel
    error_dropped = laid_out("eps_error_sum", "dropped") * per_pixel
    return {
        "eps_error": error,
        "eps_error_dropped": error_dropped,
        "information": (error_dropped - error) / (2 * math.log(2)),
        "information_orthogonal": laid_out("eps_gap_sum") * per_pixel / (2 * math.log(2)),
        "x0_error": laid_out("x0_error_sum") * per_pixel,
    } | {
        f"eps_error_{control}": laid_out("eps_error_sum", control) * per_pixel
        for control in CONTROLS
        if control in controls
    }


def _encoding(config: Mapping[str, Any]) -> tuple[str, float]:
    name, fields = _fields(config)
    return name, float(fields.get("scale", 1.0))


def _fields(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The encoding's name and what is written of it."""
    mode = config.get("mode", {})
    diffusion = mode.get("diffusion", {}) if isinstance(mode, dict) else {}
    spec = cast("dict[str, Any]", diffusion).get("encoding", "onehot")
    ((name, fields),) = {spec: {}}.items() if isinstance(spec, str) else spec.items()
    return str(name), fields


def _pixelwise(
    encoding: tuple[str, float], ones: Array, rows: list[tuple[str, str]], tested: HeldOutRows
) -> Pixelwise | None:
    """Two classes have one channel, whose ones were counted; of more, the test cases tell.

    ``rows`` are the trial and the test case of each.
    """
    name, scale = encoding
    mine = tested.indices({digest for digest, _ in rows}, SAMPLE)
    kinds = np.unique(tested.codes["class"][mine])
    if len(kinds) == 1:
        return Pixelwise(ones[:, None], scale)
    if len(kinds) == 0 or name != "onehot":
        return None
    digests, cases = (
        [tested.names[k][c] for c in tested.codes[k][mine]] for k in ("digest", "case")
    )
    tp, fp, fn, tn = (tested.numbers[k][mine] for k in ("tp", "fp", "fn", "tn"))
    kind = tested.codes["class"][mine].tolist()
    found = dict(
        zip(zip(digests, cases, kind, strict=True), (tp + fn) / (tp + fp + fn + tn), strict=True)
    )
    shares = np.array(
        [[found.get((digest, case, k), np.nan) for k in kinds.tolist()] for digest, case in rows]
    )
    if np.isnan(shares).any():  # tested on other cases than it was probed on
        return None
    return Pixelwise(np.column_stack([1 - shares.sum(1), shares]), scale)
