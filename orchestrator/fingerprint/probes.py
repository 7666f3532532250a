"""Probe curves: denoising errors of final diffusion models over the noise level."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.fingerprint import probe_layout
from orchestrator.fingerprint.pixelwise_bound import Pixelwise
from orchestrator.heldout.final_cells import FinalCell, final_cells
from orchestrator.heldout.rows import HeldOutRows, Indices
from orchestrator.ledger.parquet import coded
from orchestrator.statistics import bootstrap
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.small_samples import Rows

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

AXES = ("log_snr", "t")
MEASURED = (
    *("eps_error", "eps_error_dropped", "information", "information_orthogonal"),
    "one_step_dice",
)
"""Curves that every probed diffusion model has."""


def possible(name: str) -> tuple[float, float]:
    """Return the least and the largest value that a curve, or a mean of curves, can have.

    The information by the difference of two errors may be negative.
    """
    if name.startswith("one_step_dice") or name == "prevalence":
        return 0.0, 1.0
    signed = name == "disagreement" or name in ("information", "information_per_image")
    return -math.inf if signed else 0.0, math.inf


@dataclass(frozen=True)
class ProbeCurves:
    """Probe curves of the final trials of one cell along one axis; arrays are [rows, strata].

    A row is one case (a probed tile) evaluated with one training run. ``curves`` are per pixel, and
    NaN where a row lacks a stratum: ``eps_error`` with the image, ``eps_error_dropped`` without it,
    ``eps_error_CONTROL`` under a control, ``x0_error`` with the image; ``information`` by the
    difference of errors and ``information_orthogonal`` by the distance of the estimates, in bits
    per unit of λ; ``one_step_dice`` of the x0-estimate with the image.
    """

    final: FinalCell
    axis: str
    """``log_snr`` or ``t``."""
    schedule: str
    """Name of the schedule that the model was trained with."""
    digests: list[str]
    case_names: list[str]
    runs: Indices
    """Place of each row's training run in ``digests``: [rows]."""
    cases: Indices
    """Place of each row's case in ``case_names``: [rows]."""
    groups: Indices
    """Number of each row's patient, slide or slab: [rows]."""
    bins: Indices
    """Numbers of the strata: [strata]."""
    low: Array
    """Lower edge of each stratum: [strata]."""
    high: Array
    present: NDArray[np.bool_]
    """Whether a row has probe rows in a stratum: [rows, strata]."""
    at: Array
    """Mean position on the axis of the noise levels that were drawn."""
    pixels: Array
    """Pixels per case: [rows]."""
    pixelwise: Pixelwise | None
    """None where the channels of the encoding cannot be derived from the counts."""
    curves: dict[str, Array]

    @property
    def weights(self) -> Array:
        """How often each row counts in each bootstrap resample: [resamples, rows]."""
        return bootstrap.weights(self.runs, self.units)

    def rows(self, values: Array) -> Rows:
        """Numbers of the rows, [rows, ...], for the interval of their mean."""
        return Rows(values, self.runs, self.units)

    @property
    def units(self) -> Indices:
        """The resampling unit of each row: [rows]."""
        return bootstrap.units(self.cases, self.groups)

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of ``seeds``, ``images`` and ``groups``."""
        columns = {"seeds": self.runs, "images": self.cases, "groups": self.groups}
        return {name: len(np.unique(values)) for name, values in columns.items()}

    @property
    def edges(self) -> Array:
        """Edges of the strata, which tile the axis: [strata + 1], rising."""
        return np.array([*self.low, self.high[-1]])

    @property
    def middles(self) -> Array:
        """Middle of each stratum: [strata]."""
        return (self.low + self.high) / 2

    @property
    def encoding(self) -> tuple[str, float, float]:
        """Name, scale and offset of the mask encoding."""
        return probe_layout.encoding(self.final)

    def select(self, rows: NDArray[np.bool_], strata: NDArray[np.bool_]) -> ProbeCurves:
        """The curves of some rows and strata."""
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

    def by_pattern(self) -> Iterator[ProbeCurves]:
        """The strata in parts that have the same rows, so that each part is resampled together."""
        for pattern in np.unique(self.present, axis=1).T:
            yield self.select(pattern, (self.present == pattern[:, None]).all(0))

    def complete(self) -> ProbeCurves:
        """The rows that have every stratum, over which areas can be computed."""
        complete = cast("NDArray[np.bool_]", self.present.all(1))
        return self.select(complete, np.ones(len(self.bins), bool))


def probe_curves(tables: Catalog) -> Iterator[ProbeCurves]:
    """The curves of every final cell that was probed, along each axis, by study and cell."""
    probes = tables["probes"].select(probe_layout.COLUMNS).combine_chunks()
    digests, codes = coded(probes["digest"])
    if not digests:
        return
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(digests) + 1))
    rows_of = {d: order[starts[i] : starts[i + 1]] for i, d in enumerate(digests)}
    tested = HeldOutRows("cases", tables["cases"], set(digests))
    for cell in sorted(final_cells(tables), key=lambda cell: cell.key):
        rows = [rows_of[digest] for digest in sorted(cell.digests) if digest in rows_of]
        if rows:
            probed = probes.take(np.concatenate(rows))
            for axis in AXES:
                along = probed.filter(pc.field("axis") == axis)
                if along.num_rows:
                    yield _curves(cell, axis, along, tested)


def _curves(cell: FinalCell, axis: str, probes: pa.Table, tested: HeldOutRows) -> ProbeCurves:
    """The curves in the probe rows of one cell along one axis."""
    layout = probe_layout.Layout(probes, cell.seed_of)
    fields: Mapping[str, Any] = layout.axes
    return ProbeCurves(
        final=cell,
        axis=axis,
        schedule=str(probes["schedule"][0].as_py()),
        **fields,
        at=layout.array(f"{axis}_sum") / layout.array("draws"),
        pixels=layout.pixels,
        pixelwise=layout.pixelwise(cell, tested),
        curves=layout.curves(),
    )
