"""What every metric owes, against definitions computed from the pixels themselves."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables import distance_bins
from trainables.evaluation import diversity, instances, surfaces
from trainables.evaluation.counts import counts, histogram
from trainables.metrics import Array, Metric
from trainables.parsing import parse_part
from trainables.part import names
from trainables.schemas import BINS, SCHEMAS

ALL = names("metrics")
OF_FOREGROUND = [name for name in ALL if name != "empty_kept"]
"""The metrics that have a value for a case with foreground."""
SURFACES = [f"{side}_{k}" for side in ("predicted", "true") for k in ("count", "distance_sum")]
CALIBRATION = ("count", "p_sum", "y_sum", "square_sum", "nll_sum")


def made(name: str, **fields: object) -> Metric:
    return cast("Metric", parse_part("metrics", {name: fields}))


def histogram_sums(p: Tensor, truth: Tensor) -> dict[str, Array]:
    dense = {k: np.zeros((1, BINS)) for k in CALIBRATION}
    for row in histogram(p, truth):
        for k, values in dense.items():
            values[0, row["bin"]] = row[k]
    return dense


def sums_of(p: Tensor, truth: Tensor, table: str) -> dict[str, Array]:
    """One case's sums: a probability [H, W] and a bool mask."""
    found = p > 0.5
    if table == "calibration":
        return histogram_sums(p, truth)
    if table == "surfaces":
        dense = {k: np.zeros((1, distance_bins.BINS)) for k in SURFACES}
        for bins in surfaces.rows(found.numpy(), truth.numpy(), np.ones(truth.shape, bool)):
            for k, values in dense.items():
                values[0, bins["bin"]] = bins[k]
        return dense
    row = {
        "cases": lambda: counts(found, truth),
        "samples": lambda: diversity.row(torch.stack([found, found]), truth[None]),
        "annotators": lambda: {
            **(row := counts(found, truth)),
            "dice_sum": 2 * row["tp"] / max(1, 2 * row["tp"] + row["fp"] + row["fn"]),
            "dice_count": 1,
        },
        "instances": lambda: instances.row(
            instances.components(found), instances.components(truth)
        ),
    }[table]()
    return {k: np.array([float(v)]) for k, v in row.items()}


def some(seed: int) -> tuple[Tensor, Tensor]:
    """A rough probability and a mask, 8 × 8, empty rows in the middle so that no object is cut."""
    draws = torch.Generator().manual_seed(seed)
    p, truth = torch.rand(8, 8, generator=draws), torch.rand(8, 8, generator=draws) < 0.4
    p[3:5], truth[3:5] = p[3:5] / 2, False
    return p, truth


def added(*parts: dict[str, Array]) -> dict[str, Array]:
    return {k: np.sum([part[k] for part in parts], axis=0) for k in parts[0]}


@pytest.mark.parametrize("name", OF_FOREGROUND)
def test_a_perfect_prediction_is_best(name: str) -> None:
    metric = made(name)
    truth = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) < 0.3
    value = metric.value(sums_of(truth.double(), truth, metric.table))
    assert value[0] == pytest.approx(1.0 if metric.better == "higher" else 0.0, abs=2e-7)


@pytest.mark.parametrize("name", OF_FOREGROUND)
def test_a_wrong_prediction_is_worse_than_a_rough_one(name: str) -> None:
    metric = made(name)
    draws = torch.Generator().manual_seed(1)
    truth = torch.rand(32, 32, generator=draws) < 0.3
    blurred = truth * 0.8 + 0.1 + 0.1 * torch.rand(32, 32, generator=draws)
    flipped = torch.rand(32, 32, generator=draws) < 0.05
    rough = torch.where(flipped, 1 - blurred, blurred)
    good, bad = (
        metric.value(sums_of(p, truth, metric.table))[0] for p in (rough, (~truth).double())
    )
    assert good > bad if metric.better == "higher" else good < bad


OF_WHOLE_MASKS = ("samples", "annotators", "surfaces")
"""Tables whose sums are over masks, so that those of two halves of a mask do not add."""


@pytest.mark.parametrize("name", [n for n in ALL if made(n).table not in OF_WHOLE_MASKS])
@given(seed=st.integers(0, 1000))
def test_sums_add(name: str, seed: int) -> None:
    """The value of two halves' added sums is the value of the whole."""
    metric = made(name)
    p, truth = some(seed)
    halves = [sums_of(p[i : i + 4], truth[i : i + 4], metric.table) for i in (0, 4)]
    whole = metric.value(sums_of(p, truth, metric.table))
    np.testing.assert_allclose(metric.value(added(*halves)), whole, atol=1e-12)


@pytest.mark.parametrize("name", ["ged", "hm_iou", "area_crps", "dice_annotators"])
@given(seed=st.integers(0, 1000))
def test_spreads_of_cases_add(name: str, seed: int) -> None:
    """IoU is of a whole mask, so halves do not add; the pairs of two cases do."""
    metric = made(name)
    one, other = (sums_of(*some(s), metric.table) for s in (seed, seed + 1))
    apart = (metric.value(one) + metric.value(other)) / 2
    np.testing.assert_allclose(metric.value(added(one, other)), apart, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_a_metric_takes_many_cases_at_once(name: str) -> None:
    metric = made(name)
    each = [sums_of(*some(seed), metric.table) for seed in range(4)]
    stacked = {k: np.concatenate([sums[k] for sums in each]) for k in each[0]}
    assert metric.value(stacked).shape == (4,)
    np.testing.assert_allclose(
        metric.value(stacked), np.concatenate([metric.value(sums) for sums in each]), atol=1e-15
    )


@pytest.mark.parametrize("name", [n for n in ALL if made(n).table != "cases"])
def test_where_nothing_was_measured_the_value_is_unknown(name: str) -> None:
    table = made(name).table
    bins = {"calibration": BINS, "surfaces": distance_bins.BINS}
    shape = (2, bins[table]) if table in bins else (2,)
    sums = {column: np.zeros(shape) for column in SCHEMAS[table].names}
    assert np.isnan(made(name).value(sums)).tolist() == [True, True]


def test_dice_and_iou_are_set_overlaps() -> None:
    a = {(0, 0), (0, 1), (1, 1)}
    b = {(0, 1), (1, 1), (2, 2), (3, 3)}
    p, truth = torch.zeros(4, 4), torch.zeros(4, 4, dtype=torch.bool)
    for place in a:
        p[place] = 1
    for place in b:
        truth[place] = True
    sums = sums_of(p, truth, "cases")
    assert made("dice").value(sums)[0] == pytest.approx(2 * len(a & b) / (len(a) + len(b)))
    assert made("iou").value(sums)[0] == pytest.approx(len(a & b) / len(a | b))


def test_nothing_found_where_nothing_is_counts_as_right_for_pixels_and_not_for_objects() -> None:
    nothing = torch.zeros(4, 4)
    pixels, found = (sums_of(nothing, nothing.bool(), t) for t in ("cases", "instances"))
    assert made("dice").value(pixels)[0] == made("iou").value(pixels)[0] == 1.0
    assert math.isnan(made("aji").value(found)[0])
    assert math.isnan(made("pq").value(found)[0])


def test_empty_cases_are_reported_apart_from_cases_with_foreground() -> None:
    """Three empty cases, of which one has a false pixel, and one case of which half is found."""
    sums = {
        "tp": np.array([0.0, 0.0, 0.0, 1.0]),
        "fp": np.array([0.0, 0.0, 1.0, 0.0]),
        "fn": np.array([0.0, 0.0, 0.0, 1.0]),
    }
    assert np.nanmean(made("dice_foreground").value(sums)) == pytest.approx(2 / 3)
    assert np.nanmean(made("empty_kept").value(sums)) == pytest.approx(2 / 3)
    assert made("dice").value(sums).mean() == pytest.approx((1 + 1 + 0 + 2 / 3) / 4)


def test_detection_counts_instances_matched_at_an_iou_above_one_half() -> None:
    """Of two true objects one is found at IoU 3/4, one at exactly 1/2; a third is invented."""
    truth, found = torch.zeros(8, 8, dtype=torch.bool), torch.zeros(8, 8, dtype=torch.bool)
    truth[0, :4] = found[0, :3] = True
    truth[3, :4] = found[3, :2] = True
    found[6, 6] = True
    sums = sums_of(found.double(), truth, "instances")
    assert made("detection_precision").value(sums)[0] == pytest.approx(1 / 3)
    assert made("detection_recall").value(sums)[0] == pytest.approx(1 / 2)
    assert made("detection_f1").value(sums)[0] == pytest.approx(2 / 5)


def test_an_object_where_none_is_counts_as_wrong() -> None:
    found = sums_of(torch.eye(4), torch.zeros(4, 4, dtype=torch.bool), "instances")
    assert made("aji").value(found)[0] == made("pq").value(found)[0] == 0.0


def test_a_probability_of_exactly_one_is_in_the_last_bin() -> None:
    (row,) = histogram(torch.ones(5), torch.ones(5, dtype=torch.bool))
    assert row["bin"] == BINS - 1
    assert row["count"] == 5
