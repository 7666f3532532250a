"""Deep ensembles: independent networks one after another in one trial, read together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
import torch

from trainables.checkpoint import Checkpoint
from trainables.config import Config
from trainables.data import prepare
from trainables.evaluation import evaluate
from trainables.models import Ensemble, Network
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.training import loop
from trainables.training.final_test import RunResult
from trainables.training.loop import Progress, train
from trainables.training.state import State

Small = Callable[..., Config]
TRAIN = {"steps": 6, "batch": 4, "validate_every": 3, "fraction": 0.5}
NETWORKS = 3


def finish(
    run: Generator[Progress, None, RunResult],
) -> tuple[RunResult, list[Progress], Checkpoint | None]:
    """What a run leaves, what it told, and its last checkpoint."""
    told: list[Progress] = []
    last = None
    while True:
        try:
            told.append(next(run))
            last = told[-1].save()
        except StopIteration as end:
            return end.value, told, last


def seeds(config: Config) -> list[int]:
    """Of the networks of an ensemble, one after the other."""
    state, found = State(Run(config, WorkerContext(), prepare(config.task, "tiles"))), [config.seed]
    while state.begin_next():
        found.append(state.run.config.seed)
    return found


def test_its_networks_see_the_same_share_of_the_images(small: Small) -> None:
    config = small(mode={"deep_ensemble": {"networks": NETWORKS}}, train=TRAIN)
    state = State(Run(config, WorkerContext(), prepare(config.task, "tiles")))
    names = [{case.name for case in state.run.data.train}]
    while state.begin_next():
        names.append({case.name for case in state.run.data.train})
    assert len(names) == NETWORKS
    assert all(each == names[0] for each in names)
    assert len(names[0]) < len(prepare(config.task, "tiles").train)


def alone(config: Config, seed: int) -> Network:
    """The best weights of a feed-forward trial of one network."""
    shared = dataclasses.replace(config.train, fraction_seed=config.seed)
    single = dataclasses.replace(config, seed=seed, train=shared)
    state = State(Run(single, WorkerContext(), prepare(single.task, "tiles")))
    _, _, checkpoint = finish(train(single, WorkerContext()))
    assert checkpoint is not None
    state.best.load_state_dict(checkpoint.state_dicts["best"])
    return state.best


def untimed(measured: RunResult) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k != "seconds"} for r in measured.record.history]


def test_it_predicts_the_mean_of_networks_that_were_trained_apart(small: Small) -> None:
    """Each by a feed-forward trial of its own seed: the same bits, so the same rows."""
    config = small(mode={"deep_ensemble": {"networks": NETWORKS}}, train=TRAIN)
    mine = seeds(config)
    assert len(set(mine)) == NETWORKS
    assert mine[0] == config.seed
    networks = [alone(small(mode="feedforward", train=TRAIN), seed) for seed in mine]
    data = prepare(config.task, config.test.unit)
    rows = evaluate.measure(Run(config, WorkerContext(), data), Ensemble(networks), "test")
    measured, _, _ = finish(train(config, WorkerContext()))
    assert [r for r in measured.rows.cases if r["split"] == "test"] == rows.cases
    assert [r for r in measured.rows.calibration if r["split"] == "test"] == rows.calibration
    # And that is the mean of the probabilities, by hand.
    shown = torch.stack([c.image for c in data.test])
    single = small(mode="feedforward", train=TRAIN)
    with torch.no_grad():
        each = [
            single.mode.predict(n.eval(), shown, 2, [0] * len(shown), "none").members[:, 0]
            for n in networks
        ]
    assert not torch.allclose(each[0], each[1], atol=1e-3)
    total = sum(float(r["p_sum"]) for r in rows.calibration if r["reading"] == "sample")
    assert total == pytest.approx(float(torch.stack(each).mean(0).sum()), rel=1e-5)


def test_its_costs_are_those_of_all_its_networks(small: Small) -> None:
    one, many = (
        small(mode={"deep_ensemble": {"networks": n, "members": 2}}, train=TRAIN)
        for n in (1, NETWORKS)
    )
    assert (many.mode.passes, many.mode.ensemble) == (2 * NETWORKS, 2 * NETWORKS)
    single, whole = (finish(train(config, WorkerContext())) for config in (one, many))
    assert whole[0].parameters == NETWORKS * single[0].parameters
    assert whole[0].macs_per_pass == single[0].macs_per_pass
    assert [p.step for p in whole[1] if p.score is not None] == [3, 6, 9, 12, 15, 18]
    assert {p.steps for p in whole[1]} == {18}
    assert whole[0].record.train_seconds > single[0].record.train_seconds
    assert {r["member_pairs"] for r in whole[0].rows.samples} == {(2 * NETWORKS) ** 2}
    val = [r for r in whole[0].rows.cases if r["split"] == "val"]
    dice = [2 * r["tp"] / total if (total := 2 * r["tp"] + r["fp"] + r["fn"]) else 1.0 for r in val]
    assert whole[0].record.best_score == pytest.approx(np.mean(dice))


@pytest.mark.parametrize("killed_at", [1, 2, 3, 4])
def test_a_killed_ensemble_resumes_to_the_identical_numbers(small: Small, killed_at: int) -> None:
    """Before, at and after the change from one network to the next."""
    config = small(mode={"deep_ensemble": {"networks": 2}}, train=TRAIN)
    straight, _, _ = finish(train(config, WorkerContext()))
    killed = train(config, WorkerContext())
    for _ in range(killed_at):
        told = next(killed)
    checkpoint = told.save()
    killed.close()
    resumed, _, _ = finish(train(config, WorkerContext(), checkpoint))
    assert untimed(resumed) == untimed(straight)
    assert resumed.rows == straight.rows


def test_it_resumes_between_two_validations(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(mode={"deep_ensemble": {"networks": 2}}, train=TRAIN)
    straight, _, _ = finish(train(config, WorkerContext()))
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    killed = train(config, WorkerContext())
    told = [next(killed) for _ in range(8)]
    assert (told[-1].step, told[-1].score) == (8, None)
    checkpoint = told[-1].save()
    killed.close()
    resumed, _, _ = finish(train(config, WorkerContext(), checkpoint))
    assert untimed(resumed) == untimed(straight)


def test_each_network_loses_patience_for_itself(small: Small) -> None:
    settings = {**TRAIN, "steps": 200, "validate_every": 1, "patience": 2, "learning_rate": 1e-9}
    config = small(mode={"deep_ensemble": {"networks": 2}}, train=settings)
    measured, _, _ = finish(train(config, WorkerContext()))
    ended: list[int] = []
    best, worse = -1.0, 0
    for row in measured.record.history:
        best, worse = max(best, row["score_sum"]), 0 if row["score_sum"] > best else worse + 1
        if worse == 2:
            ended.append(row["step"])
            best, worse = -1.0, 0
    assert len(ended) == 2
    assert ended[1] == measured.record.history[-1]["step"] < 400


def test_no_network_is_no_ensemble(small: Small) -> None:
    with pytest.raises(ValueError, match="networks=0 must be at least 1"):
        small(mode={"deep_ensemble": {"networks": 0}})


def test_its_networks_are_trained_as_the_mode_says(small: Small) -> None:
    """Every setting of training is that of the networks; readings have no effect on them."""
    settings = {"loss": "mse", "dice_weight": 0.5, "added_loss": "l1_ace"}
    config = small(mode={"deep_ensemble": {"networks": 2, "members": 8, **settings}}, train=TRAIN)
    twin = small(mode={"feedforward": settings}, train=TRAIN)
    assert [training.mode for training in config.trainings] == [twin.mode] * 2
    assert config.training_digests[0] == twin.training_digests[0]


def test_ensembles_that_missed_their_added_loss_have_another_identity(small: Small) -> None:
    """Before version 5 the networks were trained without it."""
    plain, added = (
        small(
            mode={"deep_ensemble": {"networks": 2, "added_loss": loss}},
            train={**TRAIN, "fraction": 1.0},
        )
        for loss in (None, "l1_ace")
    )
    assert plain.version < added.version == 5
