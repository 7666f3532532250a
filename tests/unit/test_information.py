"""Totals, shapes and signs of fingerprints, on ledgers whose answers are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from orchestrator.analyses import catalog
from orchestrator.commands.fingerprint import bars
from orchestrator.fingerprint import density
from orchestrator.fingerprint.pixelwise_bound import Pixelwise, errors
from orchestrator.fingerprint.timestep_tests import findings
from orchestrator.ledger.ledger import Ledger
from orchestrator.statistics import bootstrap
from orchestrator.statistics.estimates import of_means
from tests.conftest import Segprint
from tests.fingerprints import LINEAR, PIXELS, bump, commit, of_density, over_t, probes

FINE = np.linspace(-9, 7, 161)
COARSE = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
ONES, EIGHT = np.ones((3, 4)), np.ones((8, 4))


def entropy(p: float) -> float:
    return float(stats.entropy([p, 1 - p], base=2))


def mean_errors(p: float) -> np.ndarray[Any, Any]:
    """Of the pixel-wise denoiser in every fine stratum."""
    inside = np.linspace(FINE[:-1], FINE[1:], 11)
    one, zero = errors(((inside[:-1] + inside[1:]) / 2).ravel(), p)
    return (p * one + (1 - p) * zero).reshape(10, -1).mean(0)


def row(ledger: Ledger, cell: str = "task_diffusion") -> dict[str, Any]:
    return {r["cell"]: r for r in catalog(ledger)["information"].to_pylist()}[cell]


@pytest.mark.parametrize("p", [0.5, 0.3, 0.02, 0.0])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_pixelwise_error_has_the_entropy_as_its_area(p: float, scale: float) -> None:
    edges = np.array([-np.inf, -3.0, 1.0, np.inf])
    areas = Pixelwise(np.full((1, 1), p), scale).areas(edges[:-1], edges[1:])
    assert areas.sum() == pytest.approx(entropy(p), abs=1e-6)


@pytest.mark.parametrize("log_snr", [-4.0, 0.0, 3.0])
def test_the_pixelwise_error_is_that_of_bayes_rule(log_snr: float) -> None:
    """Against scipy's quadrature of the posterior written out."""
    p, snr = 0.2, math.exp(log_snr)
    found = errors(np.array([log_snr]), p)
    for truth, value in zip((1.0, -1.0), found, strict=True):

        def square(y: float, x: float = truth) -> float:
            weights = [stats.norm.pdf(y - math.sqrt(snr) * m) for m in (1, -1)]
            one = p * weights[0] / (p * weights[0] + (1 - p) * weights[1])
            return snr * (2 * one - 1 - x) ** 2 * stats.norm.pdf(y - math.sqrt(snr) * x)

        centre = truth * math.sqrt(snr)
        expected, _ = integrate.quad(square, centre - 9, centre + 9, limit=200)
        assert value[0] == pytest.approx(expected, rel=1e-5)


def test_totals_of_a_label_that_is_flipped_one_time_in_ten(ledger: Ledger) -> None:
    """p = 0.3: H = 0.6109, H(·|image) = 0.2949, I = 0.3160 nats per pixel, all within the range."""
    seen = [(0.34, 0.27 / 0.34), (0.66, 0.03 / 0.66)]
    with_image = sum(share * mean_errors(p) for share, p in seen)
    without = mean_errors(0.3)
    commit(ledger, "1" * 16, probes(FINE, np.tile(with_image, (3, 1)), np.tile(without, (3, 1))))
    found = row(ledger)
    nats = {name: found[name] * math.log(2) for name in ("entropy", "entropy_given_image")}
    assert nats["entropy"] == pytest.approx(0.6109, abs=2e-4)
    assert nats["entropy_given_image"] == pytest.approx(0.2949, abs=2e-4)
    for name in ("information", "information_orthogonal"):
        assert found[name] * math.log(2) == pytest.approx(0.3160, abs=2e-4)
        assert found[f"{name}_per_image"] == pytest.approx(100 * found[name])
    assert found["disagreement"] == pytest.approx(0, abs=1e-9)
    assert (found["images"], found["seeds"], found["pixels"]) == (3, 1, 100)
    assert found["prevalence"] == pytest.approx(0.3)
    assert found["signatures"] == ""


def test_a_balanced_pixel_that_the_image_tells_has_its_known_half_and_width(ledger: Ledger) -> None:
    """Half below λ = 0.042, and 10–90 % in [−1.906, 1.323]."""
    without = np.tile(mean_errors(0.5), (2, 1))
    commit(ledger, "1" * 16, probes(FINE, 0 * without, without, ones=0.5))
    found = row(ledger)
    assert found["half"] == pytest.approx(0.042, abs=2e-3)
    assert found["width"] == pytest.approx(1.323 + 1.906, abs=2e-3)
    assert found["information"] + found["tail_below"] + found["tail_above"] == pytest.approx(1.0)
    assert (found["entropy_given_image"], found["log_snr_low"]) == (0, -9)


def test_what_lies_beyond_a_short_range_is_within_the_tails(ledger: Ledger) -> None:
    """Of independent pixels the bound on what was not measured is exact."""
    short = slice(60, 100)
    without = np.tile(mean_errors(0.3)[short], (2, 1))
    commit(ledger, "1" * 16, probes(FINE[60:101], 0 * without, without))
    found = row(ledger)
    missing = entropy(0.3) - found["entropy"]
    assert missing > 0.1
    assert found["tail_below"] + found["tail_above"] == pytest.approx(missing, rel=1e-3)


def test_the_share_of_timesteps_at_which_the_image_adds_little(ledger: Ledger) -> None:
    takes = np.array([[0.5, 0.07, 0.03, 0.005]])
    along_t = probes(np.linspace(0, 1, 5), 2 * (1 - takes), 2 + 0 * takes, axis="t")
    commit(ledger, "1" * 16, [*probes(COARSE, ONES[:1], 2 * ONES[:1]), *along_t])
    found = row(ledger)
    shares = [found[f"share_under_{x}"] for x in (1, 5, 10)]
    assert shares == pytest.approx([0.25, 0.5, 0.75])


def test_non_monotonicity_is_the_share_of_the_way_that_leads_nowhere(ledger: Ledger) -> None:
    """Up by 3, down by 2: of 5 that it goes it gets 1."""
    loss = np.tile([1.0, 2.0, 4.0, 2.0], (8, 1))
    along_t = probes(np.linspace(0, 1, 5), loss, 2 * loss, axis="t")
    commit(ledger, "1" * 16, [*probes(COARSE, EIGHT, 2 * EIGHT), *along_t])
    found = row(ledger)
    assert found["non_monotonicity"] == pytest.approx(0.8)
    assert found["peak_t"] == pytest.approx(0.625)
    assert found["signatures"] == "loss not monotone: the fall from t 0.62 to 0.88 is 2"
    rising = np.sort(np.random.default_rng(0).random((20, 6)))
    assert density.non_monotonicity(rising).max() == pytest.approx(0, abs=1e-12)
    assert density.non_monotonicity(rising[:, [1, 0, 2, 3, 4, 5]]).min() > 0
    assert density.non_monotonicity(np.ones(3)) == 0


def test_noise_alone_shows_a_bump_in_no_more_than_one_of_twenty_losses() -> None:
    """Losses that rise to a plateau, whose tiles, seeds and strata are noisy: 300 fingerprints."""
    draws, tiles, seeds = np.random.default_rng(0), 12, 3
    run, tile = np.repeat(np.arange(seeds), tiles), np.tile(np.arange(tiles), seeds)
    plateau = np.minimum(np.linspace(0, 4, 16), 1)
    seen: list[int] = []
    for height in (0.0, 6.0):
        mean = plateau + height * stats.norm.pdf(np.arange(16), 9, 1.5)
        seen.append(0)
        for _ in range(300):
            noise = 0.7 * draws.normal(size=(tiles, 16))[tile]
            noise += 0.1 * draws.normal(size=(seeds, 16))[run]
            loss = mean + noise + 0.5 * draws.normal(size=(len(run), 16))
            curves = over_t(loss, run, tile, eps_error_dropped=loss, one_step_dice=loss)
            found = findings({"cell": curves})["cell"]["loss not monotone"]
            seen[-1] += found.verdict[0] == "holds"
    assert seen[0] <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)
    assert seen[1] > 270, "one of 1.6 above the plateau is found"


def test_the_dead_range_is_where_nothing_is_a_hundredth_of_the_peak(ledger: Ledger) -> None:
    bits = np.tile([0.001, 1.0, 0.5, 0.009], (2, 1))
    commit(ledger, "1" * 16, of_density(COARSE, bits))
    found = row(ledger)
    assert (found["live_from"], found["live_to"], found["dead"]) == (-2, 2, 0.5)


def test_every_sign_is_named_with_its_number(ledger: Ledger) -> None:
    """No use of the image at the noisy end, a dip, estimators apart, and ECE 0.2 at Dice 0.9."""
    loss = np.tile([2.0, 1.0, 3.0, 4.0], (8, 1))
    along_t = probes(np.linspace(0, 1, 5), loss, loss * [2, 2, 2, 1], axis="t")
    along_log_snr = probes(COARSE, EIGHT, 2 * EIGHT, gap=EIGHT / 2)
    commit(ledger, "1" * 16, [*along_log_snr, *along_t], gap=0.2)
    assert row(ledger)["signatures"].split("; ") == [
        "image unused at the noisy end: at t 0.75 to 1.00 it takes away 0.0 % [0.0, 0.0] of the"
        " error",
        "loss not monotone: the fall from t 0.12 to 0.38 is 1",
        "estimators disagree: 5.771 by difference, 2.885 bits per pixel",
        "high ECE in spite of good Dice: 0.200 at 0.900",
    ]


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_noisy_end_is_held_against_the_twin_in_the_encodings_units(
    ledger: Ledger, scale: float
) -> None:
    encoding = {"onehot": {"scale": scale, "offset": 0.0}}
    config = {"mode": {"diffusion": {"schedule": {"linear": {}}, "encoding": encoding}}}
    error = 1.2 * 4 * scale**2 * 0.05
    for seed in range(2):
        mine = probes(COARSE, ONES, 2 * ONES, x0=error)
        commit(ledger, f"a{seed}" * 8, mine, seed=seed, config=config)
        twin: dict[str, Any] = {"arm": "twin", "mode": "feedforward", "config": {}}
        cases = [{**r, "control": "none"} for r in mine if r["bin"] == 0]
        names = [{"case": r["case"], "axis": "none"} for r in cases]
        commit(ledger, f"b{seed}" * 8, names, seed=seed, brier=0.05, **twin)
    found = row(ledger)
    assert found["twin"] == "task_twin"
    assert found["left_edge"] == pytest.approx(1.2)
    assert found["left_edge_low"] == pytest.approx(1.2)
    assert "image used less well than by the twin: 1.20 [1.20, 1.20]" in found["signatures"]


def test_the_noisy_end_weights_tiles_by_the_pixels_that_count(ledger: Ledger) -> None:
    """Of two tiles of a case one has a ninth of the other's pixels, and nine times its error."""
    mine: list[dict[str, Any]] = []
    for tile, pixels, error in (("0,0", 90, 0.1), ("0,9", 10, 0.9)):
        for probe in probes(COARSE, ONES, 2 * ONES, x0=4 * error):
            sums = {k: v * pixels / PIXELS for k, v in probe.items() if k.endswith("error_sum")}
            case = probe["case"].replace("0,0", tile)
            mine.append({**probe, **sums, "pixels": pixels, "case": case})
    commit(ledger, "a" * 16, mine)
    names = [{"case": r["case"], "axis": "none"} for r in mine if r["bin"] == 0]
    commit(ledger, "b" * 16, names, arm="twin", mode="feedforward", config={}, brier=0.18)
    assert row(ledger)["left_edge"] == pytest.approx(1.0)


def test_the_noisy_end_is_unknown_where_tiles_are_not_all_pixels_of_the_case(
    ledger: Ledger,
) -> None:
    """The twin was tested on images of which the probed tiles are a quarter."""
    mine = probes(COARSE, ONES, 2 * ONES)
    commit(ledger, "a" * 16, mine)
    whole = {"count": 4 * PIXELS, "square_sum": 0.2 * PIXELS, "p_sum": 9.0, "y_sum": 9.0}
    key = {"split": "test", "group": "g", "class": "x", "reading": "sample", "bin": 0}
    names = sorted({row["case"].partition("/")[0] for row in mine})
    calibration = [{**key, **whole, "nll_sum": 1.0, "case": name} for name in names]
    commit(ledger, "b" * 16, [], arm="twin", mode="feedforward", config={}, calibration=calibration)
    found = row(ledger)
    assert (found["twin"], found["left_edge"]) == ("task_twin", None)


def test_the_prevalence_of_several_classes_is_that_of_the_volume(ledger: Ledger) -> None:
    """Tiles of slices, which were tested as volumes: a tenth is class x, a fifth is class y."""
    rows = probes(COARSE, ONES, 2 * ONES)
    for one in rows:
        one.update(case=one["case"].replace("/", "/z07/"))
    key = {"split": "test", "group": "g", "reading": "sample", "fp": 0, "fn": 0}
    names = sorted({one["case"].partition("/")[0] for one in rows})
    cases = [
        {**key, "case": case, "class": name, "tp": hits, "tn": 100 - hits}
        for case in names
        for name, hits in (("x", 10), ("y", 20))
    ]
    commit(ledger, "1" * 16, rows, cases=cases)
    assert row(ledger)["prevalence"] == pytest.approx(0.3)


def test_bits_per_image_are_the_mean_over_tiles_of_different_sizes(ledger: Ledger) -> None:
    """Four tiles of 100 pixels that count at 2 bits, and four of 4,096 at 0.1 bits."""
    bits, pixels = np.repeat([2.0, 0.1], 4), np.repeat([100, 4096], 4)
    density = np.tile(bits[:, None] / np.diff(COARSE).sum(), (1, len(COARSE) - 1))
    rows = of_density(COARSE, density)
    for one in rows:
        scale = pixels[int(one["case"][1:4])] / PIXELS
        sizes = ("pixels", "x0_error_sum", "eps_error_sum", "eps_gap_sum", "tp", "tn")
        one.update({name: one[name] * scale for name in sizes}, pixels=int(scale * PIXELS))
    commit(ledger, "1" * 16, rows)
    found = row(ledger)
    assert found["information_orthogonal"] == pytest.approx(1.05)
    assert found["information_orthogonal_per_image"] == pytest.approx((bits * pixels).mean())


def test_without_twin_pixel_counts_or_unconditional_probes_there_are_nulls(ledger: Ledger) -> None:
    """One trial of one case, whose image was never dropped, and which was tested on nothing."""
    only = [r for r in probes(COARSE, ONES[:1], ONES[:1]) if r["control"] == "image"]
    bare = [{**r, "eps_gap_sum": None} for r in only]
    commit(ledger, "1" * 16, bare, cases=[], calibration=[])
    tables = catalog(ledger)
    (found,) = tables["information"].to_pylist()
    assert found["entropy_given_image"] == pytest.approx(8 / (2 * math.log(2)))
    for name in ("entropy", "information", "half", "tail_above", "left_edge", "twin", "peak_t"):
        assert found[name] is None
    assert found["signatures"] == ""
    curves = {r["curve"] for r in tables["fingerprints"].to_pylist()}
    assert "eps_error_pixelwise" not in curves


def test_curves_have_the_controls_that_were_probed_and_the_pixelwise_error(ledger: Ledger) -> None:
    rows = probes(COARSE, ONES, 2 * ONES, shuffled_image=3 * ONES, random_mask=4 * ONES)
    commit(ledger, "1" * 16, rows)
    found = catalog(ledger)["fingerprints"].to_pylist()
    values = {r["curve"]: r["value"] for r in found if r["bin"] == 1}
    assert values["eps_error_shuffled_image"] == pytest.approx(3)
    assert values["eps_error_random_mask"] == pytest.approx(4)
    assert "eps_error_shuffled_mask" not in values
    one, zero = errors(np.linspace(-2, 0, 201), 0.3)
    mean = integrate.trapezoid(0.3 * one + 0.7 * zero, dx=0.01) / 2
    assert values["eps_error_pixelwise"] == pytest.approx(mean, rel=1e-3)


def test_three_classes_are_three_channels_of_the_pixelwise_error(ledger: Ledger) -> None:
    """Shares of 60, 30 and 10 %: the area is the entropy of three pixels that know nothing of
    each other.
    """
    key = {"split": "test", "group": "g", "reading": "sample", "case": "c000"}
    cases = [
        {**key, "class": name, "tp": n, "fp": 0, "fn": 0, "tn": 100 - n}
        for name, n in (("a", 30), ("b", 10))
    ]
    wide = np.array([-30.0, 0.0, 9.0])
    commit(ledger, "1" * 16, probes(wide, ONES[:1, :2], ONES[:1, :2]), cases=cases)
    found = row(ledger)
    assert found["prevalence"] == pytest.approx(0.4)
    curve = [
        r["value"] * (r["bin_high"] - r["bin_low"]) / (2 * math.log(2))
        for r in catalog(ledger)["fingerprints"].to_pylist()
        if r["curve"] == "eps_error_pixelwise"
    ]
    assert sum(curve) == pytest.approx(sum(map(entropy, (0.6, 0.3, 0.1))), abs=1e-4)


def test_intervals_of_totals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Cases differ in their bits (log-normal) and in where these lie; 40 of them, 200 times."""
    draws, covered = np.random.default_rng(0), np.zeros(2)
    edges = np.linspace(-6, 6, 13)

    def numbers(mean: Any) -> dict[str, Any]:
        areas = mean["g"] * np.diff(edges)
        return {"total": areas.sum(-1), "half": density.quantile(areas, edges)}

    def sample(cases: int) -> np.ndarray[Any, Any]:
        bits = draws.lognormal(0, 0.3, cases)
        centres = draws.normal(0, 0.8, cases)
        below = stats.norm.cdf(edges, centres[:, None], 1.5)
        return bits[:, None] * np.diff(below) / np.diff(edges)

    truth = {name: float(v) for name, v in numbers({"g": sample(200_000).mean(0)}).items()}
    names = [str(i) for i in range(40)]
    for i in range(200):
        counted = bootstrap.weights(["run"] * 40, names, 400, i)
        found = of_means({"g": sample(40)}, counted, np.arange(40), numbers)
        covered += [found[k].low <= truth[k] <= found[k].high for k in truth]
    assert (covered / 200 >= 0.89).all()
    assert (covered / 200 <= 0.985).all()


def test_the_terminal_shows_totals_bars_and_signs(ledger: Ledger, inline: Segprint) -> None:
    bits = np.tile(bump(COARSE, -1.0, 1.0, 0.2), (4, 1))
    commit(ledger, "1" * 16, of_density(COARSE, bits), gap=0.2)
    said = inline("--store", ledger.store.url, "fingerprint")
    assert said.returncode == 0
    line, *_ = (text for text in said.stdout.splitlines() if "task_diffusion" in text)
    total = row(ledger)["information_orthogonal"]
    assert total == pytest.approx(0.2, rel=0.01)
    assert f"{total:.3f} [{total:.3f}, {total:.3f}]" in line
    assert "4.0 to -4.0" in line
    assert "high ECE in spite of good Dice: 0.200 at 0.900" in said.stdout
    curves = catalog(ledger)["fingerprints"].to_pylist()
    assert len(bars(curves, {"study": "study", "cell": "task_diffusion"})) == 4


def test_no_trial_is_said_in_one_line(ledger: Ledger, inline: Segprint) -> None:
    commit(ledger, "1" * 16, [], arm="twin", mode="feedforward", config=LINEAR)
    said = inline("--store", ledger.store.url, "fingerprint")
    assert said.returncode == 1
    assert said.stdout.startswith("no final diffusion trial has finished that was probed")
    said = inline("--store", ledger.store.url, "fingerprint", "--json")
    assert (said.returncode, said.stdout) == (1, "[]\n")
    assert catalog(ledger)["information"].num_rows == 0
