"""Calibration and panoptic quality against the libraries that others report with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.contracts.test_metrics import histogram_sums, made
from trainables.evaluation import instances
from trainables.metrics import Array, reliability
from trainables.schemas import BINS

Truth = NDArray[np.bool_]
ERRORS = ("ece", "ace", "mce")


def outcomes(p: Array, draws: np.random.Generator) -> Truth:
    """Too sure here and too unsure there: with gaps of one sign any bins give the same ECE."""
    return draws.random(p.shape) < p + 0.15 * np.sin(25 * p)


def miscalibrated(seed: int, size: int = 4000) -> tuple[Array, Truth]:
    """Probabilities away from every fine bin's edge, since libraries differ there, and outcomes."""
    draws = np.random.default_rng(seed)
    fine = np.floor(draws.beta(0.5, 0.7, size) * BINS).clip(1, BINS - 2)
    p = (fine + draws.uniform(0.1, 0.9, size)) / BINS
    return p, outcomes(p, draws)


def value(name: str, p: Array, y: Truth, **fields: object) -> float:
    sums = histogram_sums(torch.from_numpy(p), torch.from_numpy(y))
    return float(made(name, **fields).value(sums)[0])


@pytest.mark.parametrize("bins", [10, 15, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_netcal_finds_the_same_errors_in_bins_of_equal_width(seed: int, bins: int) -> None:
    from netcal.metrics import ACE, ECE, MCE

    p, y = miscalibrated(seed)
    for name, reference in zip(ERRORS, (ECE, ACE, MCE), strict=True):
        expected = reference(bins).measure(p, y.astype(int))
        assert value(name, p, y, bins=bins) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bins", [10, 15, 20])
def test_netcal_finds_the_same_error_in_bins_of_equal_mass(bins: int) -> None:
    """600 fine bins with five pixels each, so that no quantile falls inside one."""
    from netcal.metrics import ECE

    draws = np.random.default_rng(bins)
    fine = np.sort(draws.choice(BINS, 600, replace=False, p=np.arange(BINS) / sum(range(BINS))))
    p = ((fine[:, None] + draws.uniform(0.1, 0.9, (600, 5))) / BINS).ravel()
    y = outcomes(p, draws)
    expected = ECE(bins, equal_intervals=False).measure(p, y.astype(int))
    found = value("ece", p, y, bins=bins, binning="mass")
    assert found == pytest.approx(expected, abs=1e-12)
    assert abs(found - value("ece", p, y, bins=bins)) > 1e-4


def test_bins_of_equal_mass_are_equal_up_to_one_fine_bin() -> None:
    from netcal.metrics import ECE

    p, y = miscalibrated(3)
    sums = histogram_sums(torch.from_numpy(p), torch.from_numpy(y))
    _, count = reliability(sums, 15, "mass")
    assert np.abs(count - len(p) / 15).max() <= sums["count"].max()
    expected = ECE(15, equal_intervals=False).measure(p, y.astype(int))
    assert value("ece", p, y, binning="mass") == pytest.approx(expected, abs=2e-3)


def test_a_full_fine_bin_is_not_divided() -> None:
    sums = {k: np.zeros((1, BINS)) for k in ("count", "p_sum", "y_sum")}
    sums["count"][0, :4] = 90, 4, 3, 3
    _, count = reliability(sums, 10, "mass")
    assert count[0].tolist() == [0, 0, 0, 0, 90, 0, 0, 0, 0, 10]


@pytest.mark.parametrize("seed", [0, 1])
def test_monai_finds_the_same_errors(seed: int) -> None:
    """MONAI bins in float32, so to its precision."""
    from monai.metrics import CalibrationErrorMetric

    p, y = miscalibrated(seed)
    for name, reduction in zip(ERRORS, ("expected", "average", "maximum"), strict=True):
        reference = CalibrationErrorMetric(num_bins=20, calibration_reduction=reduction)
        reference(torch.from_numpy(p)[None, None], torch.from_numpy(y)[None, None].float())
        assert value(name, p, y, bins=20) == pytest.approx(float(reference.aggregate()), abs=1e-6)


def test_monai_bins_alike() -> None:
    from monai.metrics.calibration import calibration_binning

    p, y = (torch.from_numpy(values) for values in miscalibrated(2))
    mean_p, mean_y, count = calibration_binning(p[None, None], y[None, None].float(), 20)
    gap, mine = reliability(histogram_sums(p, y), 20)
    np.testing.assert_array_equal(mine[0], count.flatten().numpy())
    expected = ((mean_p - mean_y).abs() * count).flatten().numpy()
    np.testing.assert_allclose(gap[0], expected, atol=1e-4)


def test_brier_and_nll_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss, log_loss

    p, y = miscalibrated(4)
    assert value("brier", p, y) == pytest.approx(brier_score_loss(y, p), abs=1e-12)
    assert value("nll", p, y) == pytest.approx(log_loss(y, p), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_panoptic_quality_is_that_of_monai(seed: int) -> None:
    from monai.metrics import compute_panoptic_quality

    draws = np.random.default_rng(seed)
    truth = torch.from_numpy(np.kron(draws.integers(0, 9, (6, 6)), np.ones((3, 3))).astype("i4"))
    noise = torch.from_numpy(draws.integers(0, 12, (18, 18)).astype("i4"))
    predicted = torch.where(torch.from_numpy(draws.random((18, 18)) < 0.35), noise, truth)
    row = instances.row(predicted, truth)
    assert 0 < row["matched"] < row["true_instances"]
    expected = compute_panoptic_quality(predicted, truth, smooth_numerator=0.0)
    sums = {k: np.array([float(v)]) for k, v in row.items()}
    assert made("pq").value(sums)[0] == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("name", ERRORS)
def test_bins_of_equal_width_must_divide_the_stored_ones(name: str) -> None:
    with pytest.raises(ValueError, match="bins=7 must divide 1200"):
        value(name, *miscalibrated(0, 10), bins=7)
    with pytest.raises(ValueError, match="bins=0 must be at least 1"):
        made(name, bins=0)
