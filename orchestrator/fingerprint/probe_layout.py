"""Probe rows as arrays with one row per case and training run, and one column per stratum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa

from orchestrator.fingerprint.pixelwise_bound import Pixelwise
from orchestrator.heldout.final_cells import FinalCell
from orchestrator.heldout.rows import SAMPLE, HeldOutRows, Indices
from orchestrator.ledger.parquet import coded
from orchestrator.statistics.bootstrap import Array

CONTROLS = ("shuffled_image", "random_mask", "shuffled_mask")
"""Controls beyond ``image`` and ``dropped`` (:mod:`trainables.controls`)."""
TWO_VALUED = ("onehot", "bits")
"""The encodings whose channels have two values, ±scale around the offset."""
COLUMNS = (
    *("digest", "task", "model", "schedule", "case", "group", "axis", "bin", "low", "high"),
    *("control", "pixels", "draws", "t_sum", "log_snr_sum", "x0_error_sum", "eps_error_sum"),
    *("eps_gap_sum", "tp", "fp", "fn"),
)
"""Columns of the table ``probes`` that the curves are computed from."""


class Layout:
    """The probe rows of one cell along one axis as arrays, [rows, strata].

    ``seeds`` are the training seeds by digest; runs are numbered in their order.
    """

    def __init__(self, probes: pa.Table, seeds: Mapping[str, int]) -> None:
        self._probes = probes
        self.case_names, case = coded(probes["case"])
        digests, code = coded(probes["digest"])
        self.digests = sorted(digests, key=lambda digest: (seeds[digest], digest))
        run = np.array([self.digests.index(digest) for digest in digests], np.int64)[code]
        _, group = coded(probes["group"])
        count = len(self.case_names)
        keys, first, self._row = np.unique(
            run * count + case, return_index=True, return_inverse=True
        )
        self.runs, self.cases, self.groups = keys // count, keys % count, group[first]
        bins = probes["bin"].to_numpy()
        self.bins, self._first_of_bin, self._stratum = np.unique(
            bins, return_index=True, return_inverse=True
        )
        self.present = np.zeros((len(keys), len(self.bins)), bool)
        self.present[self._row, self._stratum] = True
        self._controls, code = coded(probes["control"])
        self._control = np.array(self._controls)[code]

    @property
    def axes(self) -> dict[str, Any]:
        """The fields of ``ProbeCurves`` that describe rows and strata, by name."""
        low, high = (self._probes[k].to_numpy()[self._first_of_bin] for k in ("low", "high"))
        names = ("digests", "case_names", "runs", "cases", "groups", "bins", "present")
        return {name: getattr(self, name) for name in names} | {"low": low, "high": high}

    def array(self, column: str, control: str = "image") -> Array:
        """A column under one control, [rows, strata]; NaN where there is no probe row."""
        values, chosen = np.full(self.present.shape, np.nan), self._control == control
        column_values = self._probes[column].to_numpy()
        values[self._row[chosen], self._stratum[chosen]] = column_values[chosen]
        return values

    @cached_property
    def pixels(self) -> Array:
        """Pixels of each row: [rows]."""
        return np.nanmax(self.array("pixels"), axis=1, initial=0.0)

    @cached_property
    def _per_pixel(self) -> Array:
        """The factor that turns sums over draws and pixels into means per pixel."""
        return 1 / (self.array("draws") * self.array("pixels"))

    def curves(self) -> dict[str, Array]:
        """All curves of ``ProbeCurves``, per pixel; those of further controls if probed."""
        error = self._mean("eps_error_sum")
        error_dropped = self._mean("eps_error_sum", "dropped")
        tp, fp, fn = (self.array(column) for column in ("tp", "fp", "fn"))
        further = [control for control in CONTROLS if control in self._controls]
        return {
            "eps_error": error,
            "eps_error_dropped": error_dropped,
            "information": (error_dropped - error) / (2 * math.log(2)),
            "information_orthogonal": self._mean("eps_gap_sum") / (2 * math.log(2)),
            "x0_error": self._mean("x0_error_sum"),
            **{f"eps_error_{control}": self._mean("eps_error_sum", control) for control in further},
            "one_step_dice": (2 * tp + 1e-9) / (2 * tp + fp + fn + 1e-9),
        }

    def _mean(self, column: str, control: str = "image") -> Array:
        return self.array(column, control) * self._per_pixel

    def pixelwise(self, cell: FinalCell, tested: HeldOutRows) -> Pixelwise | None:
        """The shares of ones per channel, for the pixelwise bound.

        With two classes there is one channel, whose ones the probes count. With more, the shares
        are those of the test cases; None if the encoding is not one-hot or the cases differ, and
        for encodings whose channels have more than two values.
        """
        name, scale, _ = encoding(cell)
        if name not in TWO_VALUED:
            return None
        known = set(tested.names["case"])
        names = [tested_case(tile, known) for tile in self.case_names]
        runs: list[int] = self.runs.tolist()
        cases: list[int] = self.cases.tolist()
        rows = [(self.digests[r], names[c]) for r, c in zip(runs, cases, strict=True)]
        indices = tested.indices({digest for digest, _ in rows}, SAMPLE)
        classes = tested.codes["class"][indices]
        if len(np.unique(classes)) == 1:
            ones = (self.array("tp") + self.array("fn")) * self._per_pixel
            return Pixelwise(np.nanmax(ones, axis=1, initial=0.0)[:, None], scale)
        if len(classes) == 0 or name != "onehot":
            return None
        shares = _class_shares(rows, tested, indices)
        if np.isnan(shares).any():  # tested on other cases than it was probed on
            return None
        return Pixelwise(np.column_stack([1 - shares.sum(1), shares]), scale)


def tested_case(tile: str, known: Set[str]) -> str:
    """Return the test case of a probed tile, which is named CASE/PLACE or VOLUME/SLICE/PLACE."""
    image = tile.rpartition("/")[0]
    return image if image in known else image.rpartition("/")[0]


def _class_shares(rows: list[tuple[str, str]], tested: HeldOutRows, indices: Indices) -> Array:
    """The share of pixels of each foreground class, [rows, classes], of (trial, case) pairs."""
    digest_codes, case_codes, kind_codes = (
        cast("list[int]", tested.codes[k][indices].tolist()) for k in ("digest", "case", "class")
    )
    tp, fp, fn, tn = (tested.numbers[k][indices] for k in ("tp", "fp", "fn", "tn"))
    values: list[float] = ((tp + fn) / (tp + fp + fn + tn)).tolist()
    digests, cases = tested.names["digest"], tested.names["case"]
    share: dict[tuple[str, str, int], float] = {
        (digests[digest], cases[case], kind): value
        for digest, case, kind, value in zip(
            digest_codes, case_codes, kind_codes, values, strict=True
        )
    }
    kinds = sorted(set(kind_codes))
    return np.array(
        [[share.get((digest, case, k), np.nan) for k in kinds] for digest, case in rows]
    )


def encoding(cell: FinalCell) -> tuple[str, float, float]:
    """Name, scale and offset of the mask encoding of a diffusion cell."""
    spec: str | dict[str, dict[str, float]] = cell.mode_settings.get("encoding", "onehot")
    ((name, fields),) = [(spec, dict[str, float]())] if isinstance(spec, str) else spec.items()
    return name, float(fields.get("scale", 1.0)), float(fields.get("offset", 0.0))
