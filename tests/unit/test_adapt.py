"""From a fingerprint that is known to a schedule computed by hand, and to a space that plans."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from defusedxml import ElementTree
from scipy import stats

import search_spaces
from orchestrator.analyses import catalog
from orchestrator.fingerprint import adapted_schedule
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.validation import check
from tests.conftest import SMALL, Segprint
from tests.fingerprints import bump, commit, of_density
from trainables.config import parse
from trainables.parsing import parse_part
from trainables.schedules import Schedule

EDGES = np.linspace(-8, 8, 161)
CENTRE, SPREAD = -1.0, 1.5
WINDOW = {"constant_window": {"log_snr_high": 10.0, "log_snr_low": -10.0}}


def config(**diffusion: Any) -> dict[str, Any]:
    mode = {"diffusion": {"schedule": WINDOW, "t_low": 0.1, "t_high": 0.9, **diffusion}}
    return parse({**SMALL, "mode": mode, "seed": 7}).plain()


@pytest.fixture
def store(ledger: Ledger) -> str:
    """A bump of 0.2 bits per pixel, known to the last digit, under a schedule that is even in λ."""
    density = np.tile(bump(EDGES, CENTRE, SPREAD, 0.2), (3, 1))
    commit(ledger, "1" * 16, of_density(EDGES, density), task="synthetic", config=config())
    return ledger.store.url


def test_the_range_and_the_schedule_are_those_of_the_bump(
    store: str, inline: Segprint, tmp_path: Path
) -> None:
    said = inline("--store", store, "adapt", "study", "--task", "synthetic", "--json")
    assert said.returncode == 0, said.stderr
    numbers = json.loads(said.stdout)
    bell = stats.norm(CENTRE, SPREAD)
    low, high = bell.ppf([0.005, 0.995])
    assert numbers["log_snr"] == pytest.approx([low, high], abs=0.01)
    assert numbers["t"] == pytest.approx([(10 - high) / 20, (10 - low) / 20], abs=1e-3)
    assert numbers["half"] == pytest.approx(CENTRE, abs=1e-3)
    assert numbers["bits_per_pixel"] == pytest.approx(0.2, rel=1e-4)
    even = adapted_schedule.FLOOR * (high - low) / 16
    assert numbers["spent"]["adapted"] == pytest.approx(0.9 * 0.99 + even, abs=2e-3)
    assert numbers["spent"]["trained"] == pytest.approx((high - low) / 20, abs=2e-3)
    _, space = search_spaces.load(str(tmp_path / numbers["file"]))
    schedule = parse_part("schedules", space.arms["adapted"]["mode.diffusion.schedule"])
    assert isinstance(schedule, Schedule)
    levels = np.linspace(-7, 7, 15)
    times = schedule.time(torch.from_numpy(levels)).numpy()
    by_hand = 0.9 * bell.sf(levels) + adapted_schedule.FLOOR * (8 - levels) / 16
    np.testing.assert_allclose(times, by_hand, atol=1e-3)


def test_the_picture_shows_where_each_schedule_spends_its_timesteps(
    store: str, inline: Segprint, tmp_path: Path
) -> None:
    """Read back from what is drawn: the shares of all strata, 0.1 wide, are the whole schedule."""
    said = inline("--store", store, "adapt", "study", "--task", "synthetic", "--json")
    drawn = ElementTree.fromstring((tmp_path / json.loads(said.stdout)["picture"]).read_text())
    told = [mark.get("aria-label", "") for mark in drawn.iter()]
    shares: dict[str, dict[float, float]] = {}
    for at, share, series in POINT.findall("\n".join(told)):
        shares.setdefault(series, {})[float(at.replace("−", "-"))] = float(share)
    assert set(shares) == {"trained", "linear", "cosine", "adapted"}
    assert sum(shares["adapted"].values()) * 0.1 == pytest.approx(1, abs=1e-3)
    assert max(shares["adapted"], key=shares["adapted"].__getitem__) == pytest.approx(
        CENTRE, abs=0.1
    )
    np.testing.assert_allclose(list(shares["trained"].values()), 1 / 20)
    again = inline("--store", store, "adapt", "study", "--task", "synthetic")
    assert again.returncode == 2
    assert "adapted_synthetic.py exists" in again.stderr


POINT = re.compile(r"noise: ([−\d.]+); share of timesteps per unit of λ: ([\d.]+); series: (\w+)")


def test_the_space_pairs_schedules_under_the_models_own_training(
    store: str, inline: Segprint, tmp_path: Path
) -> None:
    said = inline("--store", store, "adapt", "study", "--task", "synthetic", "-o", "mine.py")
    assert said.returncode == 0, said.stderr
    assert "99 % of it lies at λ from 2.8" in said.stdout
    name, space = search_spaces.load(str(tmp_path / "mine.py"))
    assert (name, space.replicates) == ("mine", 3)
    assert "99 % of it lies" in " ".join(search_spaces.docstring(str(tmp_path / "mine.py")).split())
    trained = parse(config())
    made = {cell.arm: cell.config({}, {}, seed=0) for cell in check(space)}
    schedules = {"adapted", "adapted_root", "mask_information", "linear", "cosine"}
    assert set(made) == schedules | {"trained_range", "trained", "equal_information"}
    for arm, found in made.items():
        assert (found.task, found.model, found.train) == (
            trained.task,
            trained.model,
            trained.train,
        )
        diffusion = found.plain()["mode"]["diffusion"]
        if arm == "trained_range":
            assert diffusion["schedule"] == WINDOW
            assert 0 < diffusion["t_low"] < diffusion["t_high"] < 1
        elif arm in ("trained", "equal_information"):  # which read the weights of the model
            assert found.training_digests == dataclasses.replace(trained, seed=0).training_digests
        else:
            assert (diffusion["t_low"], diffusion["t_high"]) == (0, 1)
    planned = inline("--store", store, "plan", "mine.py")
    assert planned.returncode == 0, planned.stderr
    assert "24 trials, 0 done" in planned.stdout
    sampler = made["equal_information"].plain()["mode"]["diffusion"]["sampler"]["ddim"]
    assert sampler["spacing"] == "information"
    bell = stats.norm(CENTRE, SPREAD)
    np.testing.assert_allclose(
        bell.cdf(sampler["quantiles"][1:-1]), np.arange(1, 16) / 16, atol=2e-3
    )


def test_the_schedule_of_the_masks_information_follows_the_error_under_the_image(
    ledger: Ledger,
) -> None:
    from orchestrator.fingerprint.probes import probe_curves

    density = np.array([[3.0, 5.0]])
    commit(ledger, "1" * 16, of_density(np.array([-4.0, 0.0, 4.0]), density))
    (probe,) = probe_curves(catalog(ledger))
    low, high = probe.curves["eps_error"].mean(0)
    times = adapted_schedule.Adapted(probe).mask_schedule["tabulated"]["times"]
    assert times == pytest.approx([0, 0.9 * high / (low + high) + 0.05, 1])


def test_where_the_image_tells_nothing_a_schedule_still_falls_strictly() -> None:
    areas = np.array([0.0, 0.0, 1.0, 0.0])
    spec = adapted_schedule.tabulated(areas, np.array([-4.0, -2.0, 0.0, 1.0, 4.0]))
    times = spec["tabulated"]["times"]
    assert times == pytest.approx([0, 0.1 * 3 / 8, 0.9 + 0.1 * 4 / 8, 0.9 + 0.1 * 6 / 8, 1])
    parse_part("schedules", spec)
    tiny = adapted_schedule.tabulated(np.exp(-np.linspace(0, 700, 200)), np.linspace(-9, 9, 201))
    assert all(a < b for a, b in itertools.pairwise(tiny["tabulated"]["times"]))


def test_the_root_schedule_follows_the_second_moment(ledger: Ledger) -> None:
    """Two cases with 3 and 4 in one stratum, 5 and 0 in the other: their squares sum to 25."""
    from orchestrator.fingerprint.probes import probe_curves

    density = np.array([[3.0, 5.0], [4.0, 0.0]])
    commit(ledger, "1" * 16, of_density(np.array([-4.0, 0.0, 4.0]), density))
    (probe,) = probe_curves(catalog(ledger))
    found = adapted_schedule.Adapted(probe)
    assert found.root_schedule["tabulated"]["times"] == pytest.approx([0, 0.5, 1])
    assert found.schedule["tabulated"]["times"] == pytest.approx([0, 0.9 * 5 / 12 + 0.05, 1])


def test_what_cannot_be_adapted_is_said_with_the_choices(
    ledger: Ledger, inline: Segprint, tmp_path: Path
) -> None:
    def refused(*words: str) -> str:
        said = inline("--store", ledger.store.url, "adapt", *words)
        assert said.returncode == 2
        assert not list(tmp_path.glob("*.py"))
        return said.stderr

    commit(ledger, "0" * 16, [], arm="twin", mode="feedforward")
    assert "no finished final diffusion trial" in refused("study", "--task", "task")
    assert "unknown study 'stduy'; did you mean 'study'?" in refused("stduy", "--task", "task")
    flat = np.tile(bump(EDGES, 0, 1, 0.2), (2, 1))
    for i, arm in enumerate(("one", "other")):
        commit(ledger, f"{i}a" * 8, of_density(EDGES, flat), arm=arm)
    commit(ledger, "2" * 16, of_density(EDGES, 0 * flat), task="dark")
    assert "(choices: dark, task)" in refused("study", "--task", "nuclei")
    assert "--cell (choices: task_one, task_other)" in refused("study", "--task", "task")
    assert "unknown cell 'x'" in refused("study", "--task", "task", "--cell", "x")
    assert "its image gives no information about the mask" in refused("study", "--task", "dark")
    assert "Python identifier" in refused(
        "study", "--task", "task", "--cell", "task_one", "-o", "a-b.py"
    )


def test_a_file_that_is_there_is_left_as_it_is(
    store: str, inline: Segprint, tmp_path: Path
) -> None:
    mine = tmp_path / "adapted_synthetic.py"
    mine.write_text("# mine\n")
    said = inline("--store", store, "adapt", "study", "--task", "synthetic")
    assert said.returncode == 2
    assert "adapted_synthetic.py exists" in said.stderr
    assert mine.read_text() == "# mine\n"
