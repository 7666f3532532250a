"""What every metric owes, against definitions computed from the pixels themselves."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.evaluate import BINS, counts, histogram
from trainables.metrics import Array, Metric
from trainables.part import names, parse_part

ALL = names("metrics")


def made(name: str) -> Metric:
    return cast("Metric", parse_part("metrics", name))


def sums_of(p: torch.Tensor, truth: torch.Tensor, table: str) -> dict[str, Array]:
    if table == "cases":
        return {k: np.array([float(v)]) for k, v in counts(p > 0.5, truth).items()}
    dense = {k: np.zeros((1, BINS)) for k in ("count", "p_sum", "y_sum", "square_sum", "nll_sum")}
    for row in histogram(p, truth):
        for k, values in dense.items():
            values[0, row["bin"]] = row[k]
    return dense


@pytest.mark.parametrize("name", ALL)
def test_a_perfect_prediction_is_best(name: str) -> None:
    metric = made(name)
    truth = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) < 0.3
    value = metric.value(sums_of(truth.double(), truth, metric.table))
    assert value[0] == pytest.approx(1.0 if metric.better == "higher" else 0.0)


@pytest.mark.parametrize("name", ALL)
@given(seed=st.integers(0, 1000))
def test_sums_add(name: str, seed: int) -> None:
    """The value of two halves' added sums is the value of the whole."""
    metric = made(name)
    draws = torch.Generator().manual_seed(seed)
    p, truth = torch.rand(8, 8, generator=draws), torch.rand(8, 8, generator=draws) < 0.4
    halves = [sums_of(p[i : i + 4], truth[i : i + 4], metric.table) for i in (0, 4)]
    added = {k: halves[0][k] + halves[1][k] for k in halves[0]}
    whole = metric.value(sums_of(p, truth, metric.table))
    np.testing.assert_allclose(metric.value(added), whole, atol=1e-12)


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


def test_nothing_found_where_nothing_is_counts_as_right() -> None:
    nothing = torch.zeros(4, 4)
    sums = sums_of(nothing, nothing.bool(), "cases")
    assert made("dice").value(sums)[0] == made("iou").value(sums)[0] == 1.0


@pytest.mark.parametrize("bins", [10, 15, 20])
def test_ece_is_its_definition_bin_by_bin(bins: int) -> None:
    draws = torch.Generator().manual_seed(3)
    p = torch.rand(4000, generator=draws).double()
    truth = torch.rand(4000, generator=draws) < p.square()  # over-confident on purpose
    expected = 0.0
    for b in range(bins):
        inside = (p >= b / bins) & ((p < (b + 1) / bins) | (b == bins - 1))
        gap = (p[inside].mean() - truth[inside].double().mean()).abs()
        expected += float(inside.double().mean() * gap)
    metric = cast("Metric", parse_part("metrics", {"ece": {"bins": bins}}))
    assert metric.value(sums_of(p, truth, "calibration"))[0] == pytest.approx(expected, abs=1e-9)


def test_ece_refuses_bins_that_do_not_divide_the_stored_ones() -> None:
    metric = cast("Metric", parse_part("metrics", {"ece": {"bins": 7}}))
    with pytest.raises(ValueError, match="bins=7 must divide 1200"):
        metric.value(sums_of(torch.rand(8), torch.rand(8) > 0.5, "calibration"))


def test_a_probability_of_exactly_one_is_in_the_last_bin() -> None:
    (row,) = histogram(torch.ones(5), torch.ones(5, dtype=torch.bool))
    assert row["bin"] == BINS - 1
    assert row["count"] == 5
