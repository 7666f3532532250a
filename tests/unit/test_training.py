"""What training options mean, and that every network learns what it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from tests.small import MODELS
from trainables import batches, masks
from trainables.config import Config, parse
from trainables.controls import Control
from trainables.data import Prepared, prepare, tiles
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.training.final_test import RunResult
from trainables.training.loop import Progress, train
from trainables.training.state import State

Small = Callable[..., Config]
ON_TILES = {"size": 16, "cases": 4}


def finished(config: Config, place: WorkerContext | None = None) -> RunResult:
    run: Generator[Progress, None, RunResult] = train(config, place or WorkerContext())
    while True:
        try:
            next(run)
        except StopIteration as end:
            return end.value


def losses(config: Config, place: WorkerContext | None = None) -> list[float]:
    return [row["loss_sum"] for row in finished(config, place).record.history]


def settings(**more: Any) -> dict[str, Any]:
    return {"steps": 4, "batch": 4, "validate_every": 1, **more}


@pytest.mark.parametrize("model", ["ensemdiff", "segdiff"])
def test_a_batch_in_parts_gives_the_same_losses(small: Small, model: str) -> None:
    """Networks without batch statistics cannot tell."""
    whole = losses(small(model={model: MODELS[model]}, train=settings()))
    parts = losses(small(model={model: MODELS[model]}, train=settings(accumulate=2)))
    assert parts == pytest.approx(whole, rel=1e-5)


def test_bfloat16_trains_to_nearly_the_same_losses_with_float32_weights(small: Small) -> None:
    whole = losses(small(train=settings()))
    half = losses(small(train=settings(precision="bfloat16")))
    assert half == pytest.approx(whole, rel=0.03)
    assert half != whole


def test_probabilities_are_not_rounded_to_bfloat16() -> None:
    logits = torch.tensor([[[[6.5, -6.5]]]])
    for value in (logits, logits.double(), torch.cat([logits, -logits], 1)):
        exact, found = masks.probabilities(value), masks.probabilities(value.bfloat16())
        torch.testing.assert_close(found, exact.float(), rtol=0, atol=1e-7)
    assert masks.probabilities(logits.double()).dtype == torch.float64


def test_training_stops_when_validation_no_longer_improves(small: Small) -> None:
    """At so small a learning rate the averaged weights' Dice does not move: the first is best."""
    config = small(train=settings(steps=20, learning_rate=1e-12, patience=3))
    assert len(losses(config)) == 1 + 3


@pytest.mark.parametrize(
    "control", ["shuffled_image", "dropped_image", "random_mask", "shuffled_mask"]
)
def test_every_control_can_be_trained_under(small: Small, control: Control) -> None:
    mode = {"diffusion": {"evidence": False, "sampler": {"ddim": {"steps": 2}}}}
    with_control = losses(small(mode=mode, train=settings(control=control)))
    assert with_control != losses(small(mode=mode, train=settings()))


def test_a_network_that_is_never_shown_its_own_image_learns_nothing_from_it(small: Small) -> None:
    """Discs in the open: the image decides, and under a control it is no better than the prior."""
    task = {"synthetic": {**ON_TILES, "noise": 0.1}}
    steps = {"steps": 60, "batch": 8, "validate_every": 20, "learning_rate": 5e-3}

    def last(control: str) -> float:
        config = small(task=task, mode="feedforward", train={**steps, "control": control})
        return losses(config)[-1]

    own, shuffled, dropped = last("none"), last("shuffled_image"), last("dropped_image")
    assert own < 0.6 * min(shuffled, dropped)
    assert shuffled == pytest.approx(dropped, rel=0.15)


def _rank(rank: int, folder: str, plain: list[dict[str, Any]]) -> None:
    """One of two workers: train each config and write rank 0's losses."""
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    found = [losses(parse(config), WorkerContext(rank, 2)) for config in plain]
    if rank == 0:
        torch.save(torch.tensor(found), f"{folder}/losses.pt")
    dist.destroy_process_group()


def test_two_workers_train_to_the_same_losses_as_one(small: Small, tmp_path: Path) -> None:
    """Every architecture, batch statistics, dropout, times that adapt; a batch does not divide."""
    configs = [
        small(
            model={name: fields},
            train=settings(batch=4 if accumulate > 1 else 5, accumulate=accumulate),
        )
        for (name, fields), accumulate in zip(MODELS.items(), (1, 2, 1, 1), strict=True)
    ]
    adapted = {"diffusion": {"sampler": {"ddim": {"steps": 2}}, "info_noise": {}}}
    configs.append(small(mode=adapted, train=settings(batch=5)))
    alone = torch.tensor([losses(config) for config in configs])
    multiprocessing.spawn(_rank, (str(tmp_path), [c.plain() for c in configs]), nprocs=2)
    together = torch.load(tmp_path / "losses.pt", weights_only=True)
    torch.testing.assert_close(together, alone, rtol=2e-4, atol=0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mode", ["diffusion", "image_only"])
def test_every_network_overfits_four_real_tiles(name: str, mode: str) -> None:
    """H&E nuclei at 32 px; the sample, not the auxiliary output, is what must fit."""
    fields: dict[str, Any] = {"image_dropout": 0.0} if mode == "diffusion" else {}
    config = parse(
        {
            "task": {"histology": {"size": 32}},
            "model": {name: {**MODELS[name], "attention": []}},
            "mode": {mode: fields},
            "train": {"steps": 1, "batch": 8, "learning_rate": 4e-3},
            "probe": {"bins": 0},
        }
    )
    data = prepare(config.task, "tiles")
    four = [c for c in tiles(data.train, 32) if 0.2 < c.labels.float().mean() < 0.6][:4]
    only = Prepared(four, four, four, 32)
    state = State(Run(config, WorkerContext(), only))
    images = torch.stack([c.image for c in four])
    labels = torch.stack([c.labels for c in four])
    best = 0.0
    for step in range(400):
        batch = batches.draw(Run(config, WorkerContext(), only), step)._replace(
            images_BCHW=images.repeat(2, 1, 1, 1), labels_BHW=labels.repeat(2, 1, 1)
        )
        state.optimizer.zero_grad()
        state.network.train().seed(batch.seeds_B)
        config.mode.losses(state.network, batch, 2, "none").mean().backward()
        state.optimizer.step()
        if step % 25 == 24:
            with torch.no_grad():
                state.network.eval()
                p = config.mode.predict(state.network, images, 2, [0, 1, 2, 3], "none").members
            found = masks.to_labels(p.mean(1)) > 0
            best = float(2 * (found & (labels > 0)).sum() / (found.sum() + (labels > 0).sum()))
            if best > 0.95:
                return
    pytest.fail(f"Dice {best:.3f} after 400 steps")


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_at_the_noisy_end_the_denoiser_is_its_feedforward_twin(small: Small, loss: str) -> None:
    """As λ → −∞ only the image is left: the x0 error of ±1 masks is the twin's, 4 × Brier."""

    def trained(mode: dict[str, Any]) -> RunResult:
        config = small(
            task={"synthetic": {"size": 16, "cases": 16, "noise": 1.0}},
            mode=mode,
            train={
                "steps": 150,
                "batch": 16,
                "validate_every": 75,
                "learning_rate": 4e-3,
                "decay": "linear",
            },
            probe={"bins": 8, "draws": 8},
        )
        return finished(config)

    diffusion = trained({"diffusion": {"loss": loss}})
    twin = trained({"feedforward": {"loss": loss, "dice_weight": 0.0}})
    sample = [r for r in twin.rows.calibration if r["reading"] == "sample"]
    test = [r for r in sample if r["split"] == "test"]
    brier = sum(r["square_sum"] for r in test) / sum(r["count"] for r in test)
    edge = {
        control: sum(r["x0_error_sum"] for r in rows) / sum(r["pixels"] * r["draws"] for r in rows)
        for control in ("image", "dropped")
        for rows in [
            [
                r
                for r in diffusion.probes
                if (r["axis"], r["bin"], r["control"]) == ("log_snr", 0, control)
            ]
        ]
    }
    assert edge["image"] == pytest.approx(4 * brier, rel=0.1)
    assert edge["image"] < 0.7 * edge["dropped"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own compiler
def test_a_compiled_network_trains_to_the_same_losses(small: Small) -> None:
    assert losses(small(train=settings(compile=True))) == pytest.approx(
        losses(small(train=settings())), rel=1e-4
    )


def test_a_shuffled_control_without_a_second_case_is_refused_before_training(small: Small) -> None:
    config = small(
        task={"synthetic": {"size": 16, "cases": 1}}, test={"controls": ["shuffled_image"]}
    )
    with pytest.raises(ValueError, match="needs 2 cases or more, there are 1"):
        next(train(config, WorkerContext()))


def test_parts_that_do_not_divide_among_the_workers_are_refused(small: Small) -> None:
    config = small(train=settings(batch=4, accumulate=4))
    with pytest.raises(ValueError, match="batch=4 must be a multiple of accumulate=4 times 2"):
        next(train(config, WorkerContext(0, 2)))
