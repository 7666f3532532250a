"""Distances between fingerprints, their test and the map, on bumps whose places are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from orchestrator.analyses import catalog
from orchestrator.fingerprint import task_distances
from orchestrator.ledger.ledger import Ledger
from orchestrator.report import build_sections
from orchestrator.report.blocks import Chart
from orchestrator.statistics.shape_test import same_shape, unit_area
from tests.fingerprints import LINEAR, bump, commit, of_density

EDGES = np.linspace(-8, 8, 17)


def bumps(centre: float, bits: float = 0.2, cases: int = 12, seed: int = 0) -> np.ndarray[Any, Any]:
    """Cases whose bits differ, and whose bumps lie a little apart: [cases, strata]."""
    draws = np.random.default_rng([seed, int(100 * centre) + 1000])
    each = zip(draws.normal(centre, 0.2, cases), draws.lognormal(0, 0.2, cases), strict=True)
    return np.array([bump(EDGES, at, 1.0, bits * size) for at, size in each])


def tasks(ledger: Ledger, centres: dict[str, float], seeds: int = 1, **more: Any) -> None:
    for i, (task, centre) in enumerate(centres.items()):
        for seed in range(seeds):
            rows = of_density(EDGES, bumps(centre, bits=0.1 + 0.1 * i, seed=i))
            commit(ledger, f"{i:x}{seed:x}" * 8, rows, task=task, seed=seed, **more)


def unit_rows(ledger: Ledger) -> dict[tuple[str, str], dict[str, Any]]:
    found = catalog(ledger)["distances"].to_pylist()
    return {(r["task"], r["against"]): r for r in found if r["normalisation"] == "unit"}


def test_bumps_are_as_far_apart_as_their_centres_whatever_their_bits(ledger: Ledger) -> None:
    tasks(ledger, {"a": -2.0, "b": 0.0, "c": 0.0}, seeds=2)
    found = unit_rows(ledger)
    assert set(found) == {("a", "b"), ("a", "c"), ("b", "c")}
    apart = found["a", "b"]
    assert apart["wasserstein"] == pytest.approx(2.0, abs=0.2)
    assert apart["wasserstein_low"] < apart["wasserstein"] < apart["wasserstein_high"]
    assert (apart["log_snr_low"], apart["log_snr_high"]) == (-8, 8)
    assert (apart["images"], apart["images_against"]) == (12, 12)
    assert apart["p"] == pytest.approx(1 / 2000)
    assert apart["p_holm"] == pytest.approx(3 / 2000)
    assert found["b", "c"]["p_holm"] > 0.05


def test_distances_are_those_of_scipy() -> None:
    draws = np.random.default_rng(0)
    middles, step = np.arange(64) * 0.25, 0.25
    one, other = draws.exponential(size=(2, 5, 64))
    one, other = unit_area(one), unit_area(other)
    found = task_distances.wasserstein(one, other, step), task_distances.jensen_shannon(one, other)
    for i in range(5):
        expected = stats.wasserstein_distance(middles, middles, one[i], other[i])
        assert found[0][i] == pytest.approx(expected)
        assert found[1][i] == pytest.approx(distance.jensenshannon(one[i], other[i], 2))


def test_bits_between_two_bumps_that_do_not_meet_are_all_of_both(ledger: Ledger) -> None:
    for i, (task, centre) in enumerate({"a": -4.0, "b": 4.0}.items()):
        density = np.tile(bump(EDGES, centre, 0.3, 0.1 + i), (2, 1))
        commit(ledger, f"{i}" * 16, of_density(EDGES, density), task=task)
    unit, bits = catalog(ledger)["distances"].to_pylist()
    assert bits["area_between"] == pytest.approx(0.1 + 1.1, rel=1e-6)
    assert unit["area_between"] == pytest.approx(2.0)
    assert unit["jensen_shannon"] == pytest.approx(1.0)
    assert (bits["wasserstein"], bits["p"]) == (None, None)


def test_the_axis_is_what_all_tasks_were_measured_over(ledger: Ledger) -> None:
    """Of a density that is even within strata, spreading it over the axis loses nothing."""
    commit(ledger, "1" * 16, of_density(np.array([-6.0, 0.0, 6.0]), np.array([[0.1, 0.3]])))
    other = of_density(np.array([-4.0, 0.0, 8.0]), np.array([[0.1, 0.3]]))
    commit(ledger, "2" * 16, other, task="other")
    ((row),) = unit_rows(ledger).values()
    assert (row["log_snr_low"], row["log_snr_high"]) == (-4, 6)
    assert row["wasserstein"] == pytest.approx(0, abs=1e-9)
    assert row["p"] == 1


def test_only_cells_that_were_trained_alike_are_compared(ledger: Ledger) -> None:
    """Two arms, and within one two learning rates: four pairs of tasks would be three too many."""
    rates = [{**LINEAR, "train": {"learning_rate": rate}} for rate in (1e-3, 2e-3)]
    density = bumps(0.0, cases=3)
    for i, task in enumerate(("a", "b")):
        commit(ledger, f"{i}a" * 8, of_density(EDGES, density), task=task, arm="other")
        for k, config in enumerate(rates):
            rows = of_density(EDGES, density)
            arm: dict[str, Any] = {"arm": "diffusion", "config": config}
            commit(ledger, f"{i}{k}" * 8, rows, task=task, cell=f"{task}_{k}", **arm)
    found = catalog(ledger)["distances"].to_pylist()
    pairs = [(r["cell"], r["against_cell"]) for r in found if r["normalisation"] == "unit"]
    assert sorted(pairs) == [("a_0", "b_0"), ("a_1", "b_1"), ("a_other", "b_other")]


def test_under_the_hypothesis_the_permutation_test_rejects_as_often_as_it_says() -> None:
    """Same shape, three times the bits; 12 and 15 cases, 400 times at the nominal 5 %."""
    draws = np.random.default_rng(0)
    edges = np.linspace(-6, 6, 25)

    def sample(cases: int, bits: float) -> np.ndarray[Any, Any]:
        below = stats.norm.cdf(edges, draws.normal(0, 0.7, cases)[:, None], 1.5)
        return bits * draws.lognormal(0, 0.3, cases)[:, None] * np.diff(below)

    p = [same_shape(sample(12, 0.1), sample(15, 0.3), 199, seed=i) for i in range(400)]
    assert 0.028 <= np.mean(np.array(p) <= 0.05) <= 0.072  # 2 standard errors of 400 draws
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_few_patients_that_differ_much_are_not_another_shape_than_many_tiles() -> None:
    """Same mean shape; 12 units whose shapes differ, against 60 that differ a quarter as much."""
    edges = np.linspace(-4, 4, 33)
    middles, mean = (edges[1:] + edges[:-1]) / 2, np.diff(stats.norm.cdf(edges))
    draws = np.random.default_rng(0)

    def sample(units: int, spread: float) -> np.ndarray[Any, Any]:
        return mean * (1 + draws.uniform(-spread, spread, (units, 1)) * np.tanh(2 * middles))

    p = [same_shape(sample(12, 0.9), sample(60, 0.2), 199, seed=i) for i in range(300)]
    assert np.mean(np.array(p) <= 0.05) < 0.1


def test_points_in_the_plane_are_put_back_where_they_were() -> None:
    points = np.random.default_rng(1).normal(size=(6, 2))
    apart = distance.cdist(points, points)
    found = task_distances.embedded(apart)
    np.testing.assert_allclose(distance.cdist(found, found), apart, atol=1e-9)
    np.testing.assert_allclose(task_distances.embedded(np.zeros((1, 1))), 0)


def test_clusters_are_as_large_as_can_be_without_a_separate_pair_in_one() -> None:
    places = np.array([0.0, 0.1, 1.0, 1.1])
    apart = np.abs(places[:, None] - places)
    far = apart > 0.5
    assert task_distances.clustered(apart, far) == [1, 1, 2, 2]
    assert task_distances.clustered(apart, np.zeros_like(far)) == [1, 1, 1, 1]
    assert task_distances.clustered(apart, apart > 0) == [1, 2, 3, 4]


def test_the_map_says_what_goes_with_the_noise_level_at_which_tasks_are_told(
    ledger: Ledger,
) -> None:
    """The larger the objects, the noisier: λ of half the information falls from 3 to −3."""
    key = {"split": "test", "group": "g", "class": "x", "reading": "sample"}
    for i, half in enumerate((3.0, 1.0, -1.0, -3.0)):
        cases = [
            {**key, "case": f"c{c}", "tp": 10 * (i + 1), "fp": 0, "fn": 0, "tn": 90 - 10 * i}
            | {"edges": 36, "pairs": 180, "objects": 2}
            for c in range(3)
        ]
        rows = of_density(EDGES, bumps(half))
        commit(ledger, f"{i}" * 16, rows, task=f"t{i}", cases=cases)
    found = catalog(ledger)["task_map"].to_pylist()
    assert [r["object_size"] for r in found] == [5, 10, 15, 20]
    assert [r["prevalence"] for r in found] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert [r["perimeter"] for r in found] == pytest.approx([0.36] * 4)
    assert [r["half"] for r in found] == pytest.approx([3, 1, -1, -3], abs=0.2)
    assert found[0]["correlation"] == pytest.approx(1 - 0.2 / (2 * 0.1 * 0.9))
    assert {r["object_size_rho"] for r in found} == {-1.0}
    assert {r["perimeter_rho"] for r in found} == {None}
    assert [r["cluster"] for r in found] == [1, 2, 3, 4]
    x = [r["x"] for r in found]
    assert np.abs(np.diff(x)) == pytest.approx(np.full(3, 2.0), abs=0.3)
    assert np.allclose([r["y"] for r in found], 0, atol=0.2)


def test_one_task_or_none_makes_empty_views(ledger: Ledger) -> None:
    for name in ("distances", "task_map"):
        assert catalog(ledger)[name].num_rows == 0
    commit(ledger, "1" * 16, of_density(EDGES, bumps(0.0)))
    for name in ("distances", "task_map"):
        assert catalog(ledger)[name].num_rows == 0


def test_tasks_without_information_have_no_distance(ledger: Ledger) -> None:
    for i, task in enumerate(("a", "b")):
        commit(ledger, f"{i}" * 16, of_density(EDGES, i * bumps(0.0)), task=task)
    unit, bits = catalog(ledger)["distances"].to_pylist()
    assert (unit["wasserstein"], unit["p"]) == (None, None)
    assert bits["area_between"] > 0
    assert {r["cluster"] for r in catalog(ledger)["task_map"].to_pylist()} == {1}


def test_how_far_seeds_of_one_task_are_apart_is_said_beside(ledger: Ledger) -> None:
    """Two seeds of the first task, their bumps 1 apart; of the second, in one place."""
    for i, centres in enumerate(((-1.0, 0.0), (0.0, 0.0))):
        for seed, centre in enumerate(centres):
            rows = of_density(EDGES, np.tile(bump(EDGES, centre, 1.0, 0.2), (4, 1)))
            commit(ledger, f"{i}{seed}" * 8, rows, task="ab"[i], seed=seed)
    assert unit_rows(ledger)["a", "b"]["wasserstein_seeds"] == pytest.approx(1.0, abs=0.05)


def test_a_single_seed_has_no_distance_to_another(ledger: Ledger) -> None:
    tasks(ledger, {"a": 0.0, "b": 0.0})
    assert unit_rows(ledger)["a", "b"]["wasserstein_seeds"] is None


def test_a_task_of_a_single_unit_gives_a_distance_without_an_interval(ledger: Ledger) -> None:
    for i, (task, cases) in enumerate({"a": 1, "b": 12}.items()):
        for seed in range(2):
            rows = of_density(EDGES, bumps(float(i), cases=cases))
            commit(ledger, f"{i:x}{seed:x}" * 8, rows, task=task, seed=seed)
    unit, bits = catalog(ledger)["distances"].to_pylist()
    assert unit["wasserstein"] == pytest.approx(1.0, abs=0.3)
    assert bits["area_between"] > 0
    assert {unit["wasserstein_low"], unit["wasserstein_high"], bits["area_between_low"]} == {None}
    claims = catalog(ledger)["claims"].to_pylist()
    (claim,) = [row for row in claims if row["claim"] == 4]
    assert claim["verdict"] == "inconclusive"
    assert claim["why"] == "a single test unit on one of them gives no interval"


def test_two_models_of_an_arm_have_a_map_each(ledger: Ledger) -> None:
    """Their coordinates are of two scalings, which one chart would mix."""
    for k, model in enumerate(("one", "two")):
        for i, task in enumerate("abc"):
            rows = of_density(EDGES, bumps(float(i), seed=k))
            commit(ledger, f"{k}{i}" * 8, rows, task=task, model=model, cell=f"{task}_{model}")
    found = next(s for s in build_sections(catalog(ledger)) if s.name == "tasks")
    maps = [b for b in found.all_blocks if isinstance(b, Chart) and "map of" in b.title]
    names = [sorted(str(row["name"]) for row in chart.rows) for chart in maps]
    assert names == [["a", "b", "c"]] * 2
    assert len({chart.name for chart in maps}) == 2
    for chart in maps:
        assert catalog(ledger).sql(chart.source.partition('"')[2].rpartition('"')[0]).num_rows == 3
