"""Estimates: from committed trials of the same kind, with a range that holds."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import search_spaces
from cluster import Resources
from cluster.local import usable_cpus
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning import timed_step, wall_time
from orchestrator.planning.committed_costs import PRIOR_DEVIATION, interval
from orchestrator.planning.cost import (
    RAY_TRAIN_SECONDS,
    SETUP_SECONDS,
    START_ONLY,
    UNTIMED,
    Cost,
    Estimator,
    RemainingTrial,
)
from orchestrator.planning.plan import make_plan
from orchestrator.storage.object_store import Store
from orchestrator.sweep.progress import ProgressDisplay
from search_spaces import Space
from tests.conftest import SMALL, Segprint
from tests.unit.test_cli import MINE
from trainables.config import Config
from trainables.runtime.environment import device_name


def commit(ledger: Ledger, config: Config, seconds: float, number: int, **more: Any) -> None:
    """A finished trial of this config that took so many seconds per step."""
    row = {
        **{"task": config.task.title, "model": config.model.name, "mode": config.mode.name},
        **{"outcome": "finished", "config": json.dumps(config.plain(), sort_keys=True)},
        **{"steps": 10, "device_seconds": 10 * seconds, "device": "known", **more},
    }
    ledger.commit(f"{number:016x}", "finished", {"trials": [row]})


def test_trials_of_another_size_are_of_another_kind(
    ledger: Ledger, small: Callable[..., Config]
) -> None:
    unet = SMALL["model"]["ensemdiff"]  # type: ignore[index]
    large = small(model={"ensemdiff": {**unet, "channels": 16}})
    for number in range(3):
        commit(ledger, small(seed=number), 1.0, number)
        commit(ledger, large, 100.0, 10 + number)
    estimator = Estimator(ledger)
    linear = small(mode={"diffusion": {"schedule": "linear", "sampler": {"ddim": {"steps": 3}}}})
    for config, seconds in ((small(), 1.0), (linear, 1.0), (large, 100.0)):
        cost = estimator.cost(config)
        assert cost.source == "similar committed trials"
        assert cost.device_seconds == pytest.approx(6 * seconds + SETUP_SECONDS)
        assert cost.low < cost.device_seconds < cost.high
    assert estimator.cost(small(train={"steps": 6, "batch": 2})).source == "timing a step here"


def test_trials_on_another_device_count_only_where_there_are_no_others(
    ledger: Ledger, small: Callable[..., Config]
) -> None:
    for number in range(3):
        commit(ledger, small(), 0.01, number, device="H100")
    assert Estimator(ledger).cost(small()).device == "H100"
    commit(ledger, small(), 5.0, 9, device=device_name("cpu"))
    cost = Estimator(ledger).cost(small())
    assert cost.device_seconds == pytest.approx(6 * 5.0 + SETUP_SECONDS)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_nine_of_ten_new_trials_fall_into_the_range(count: int) -> None:
    rng = np.random.default_rng(0)
    inside: list[bool] = []
    for _ in range(2000):
        *past, new = 100 * np.exp(rng.normal(0, PRIOR_DEVIATION, count + 1))
        low, _, high = interval(past)
        inside.append(low <= new <= high)
    assert 0.85 <= np.mean(inside) <= 0.99


def test_an_estimate_says_what_it_leaves_out() -> None:
    space = Space("?", SMALL)
    known = RemainingTrial(Cost(60.0, "timing a step here", 30.0, 120.0, "cpu"), 1)
    unknown = RemainingTrial(Cost(SETUP_SECONDS, UNTIMED, SETUP_SECONDS, SETUP_SECONDS, "cpu"), 1)
    untrained = RemainingTrial(Cost(2.0, START_ONLY, 2.0, 2.0, "cpu"), 1)
    one, mixed, none, with_control, controls = (
        wall_time.description(left, space, Resources(1, 0, ((1, 0),)))
        for left in ([known], [known, unknown], [unknown], [known, untrained], [untrained])
    )
    assert with_control.endswith("estimated from timing a step here")
    assert controls.endswith("estimated from the time that starting a trial takes")
    assert "without" not in one
    assert "estimated from timing a step here, without 1 trial that cannot be timed here" in mixed
    assert none == "no estimate: a training step cannot be timed here"


def test_plan_says_the_same_twice_and_sweep_says_it_too(inline: Segprint, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    ledger = Ledger(Store(str(tmp_path / "results")))
    study, space = search_spaces.load(str(tmp_path / "mine.py"))
    config = make_plan(study, space, ledger).pending[0].config
    for number, seconds in enumerate((20.0, 22.0, 26.0)):
        commit(ledger, config, seconds, number)
    first, second = (inline("plan", "./mine.py").stdout for _ in range(2))
    assert first == second
    assert "estimated from similar committed trials" in first
    text = io.StringIO()
    display = ProgressDisplay(Console(file=text, width=300), Estimator(ledger))
    display.begin(make_plan(study, space, ledger), Resources(usable_cpus(), 0))
    (said,) = text.getvalue().splitlines()
    estimate = said[said.index("about") :]
    assert estimate in first
    assert "min)" in estimate


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_the_wall_time_lies_between_its_bounds(slots: int) -> None:
    """No schedule is faster than the mean load and the longest trial; Graham (1966) bounds it."""
    rng = np.random.default_rng(slots)
    seconds = rng.uniform(1, 50, 20).tolist()
    wall = wall_time.wall_seconds([(each, 1) for each in seconds], slots)
    least = max(sum(seconds) / slots, *seconds)
    assert least <= wall <= (2 - 1 / slots) * least + 1e-9
    assert wall_time.wall_seconds([(100.0, 2)], 2) == 50 + RAY_TRAIN_SECONDS


def test_a_gpu_is_a_slot_and_its_cpus_are_not() -> None:
    space = Space(question="?", config=SMALL, cpus=2, gpus=0.5)
    assert wall_time.slots_of(space, Resources(16, 1)) == 2
    assert wall_time.slots_of(space, Resources(16, 0)) == 8


def test_time_in_which_others_compute_is_not_counted(small: Callable[..., Config]) -> None:
    clock = timed_step._clock(small(), "cpu")
    before, now, after = time.process_time(), clock(), time.process_time()
    assert before <= now <= after
