"""The default diffusion model, its twin and an independent one, at equal training budgets."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from orchestrator.reproduce.trial import InMemorySink
from trainables.batches import draw
from trainables.config import Config, parse
from trainables.data import prepared
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.training.attempt import attempt

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]

MARGIN = 0.01
"""The largest difference in Dice by which the default may be below the other models."""
STEPS, MEMBERS, PASSES = 400, 4, 4
CONFIG: dict[str, Any] = {
    "task": "nuclei_stack",
    "model": {"ensemdiff": {"channels": 8, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}},
    "train": {"steps": STEPS, "batch": 4, "learning_rate": 2e-3, "validate_every": 100},
    "test": {"unit": "tiles", "pictures": 0},
    "probe": {"bins": 0},
}
DIFFUSION = {"diffusion": {"sampler": {"ddim": {"steps": PASSES}}, "members": MEMBERS}}


class Score(NamedTuple):
    """The mean Dice of the test cases, and the number of the network's parameters."""

    dice: float
    parameters: int


def mean_dice(tp: Tensor, fp: Tensor, fn: Tensor) -> float:
    """Mean Dice of the cases; an empty prediction of an empty mask counts as 1."""
    return float((2 * tp / (2 * tp + fp + fn)).nan_to_num(nan=1.0).mean())


def trained(mode: Any) -> Score:
    """Train the network of a mode with our own training engine."""
    sink = InMemorySink("code")
    for _ in attempt(parse({**CONFIG, "mode": mode}), sink, WorkerContext()):
        pass
    assert sink.outcome == "finished"
    rows = [r for r in sink.tables["cases"] if r["split"] == "test"]
    tp, fp, fn = (torch.tensor([float(r[name]) for r in rows]) for name in ("tp", "fp", "fn"))
    (trial,) = sink.tables["trials"]
    return Score(mean_dice(tp, fp, fn), trial["parameters"])


def independent(config: Config) -> Score:
    """Train a U-Net of diffusers on the same crops, and sample the same test cases with DDIM."""
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.training_utils import EMAModel

    run = Run(config, WorkerContext(), prepared(config))
    torch.manual_seed(config.seed)
    network: Any = UNet2DModel(
        in_channels=config.task.channels + 1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 16, 32),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        norm_num_groups=8,
        add_attention=False,
    )
    scheduler: Any = DDIMScheduler(prediction_type="sample", timestep_spacing="trailing")
    ema: Any = EMAModel(network.parameters(), decay=0.99)
    optimiser = torch.optim.AdamW(network.parameters(), config.train.learning_rate)
    for step in range(STEPS):
        batch = draw(run, step)
        mask = 2 * batch.labels_BHW[:, None].float() - 1
        t = torch.randint(1000, (len(mask),))
        noisy = scheduler.add_noise(mask, torch.randn(mask.shape), t)
        loss = mse_loss(network(torch.cat([noisy, batch.images_BCHW], 1), t).sample, mask)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        ema.step(network.parameters())
    ema.copy_to(network.parameters())

    images = torch.stack([case.image for case in run.data.test])
    truth = torch.stack([case.targets for case in run.data.test]) == 1
    total = torch.zeros(len(images), 1, *images.shape[-2:])
    scheduler.set_timesteps(PASSES)
    with torch.inference_mode():
        for _ in range(MEMBERS):
            x = torch.randn(total.shape)
            for t in scheduler.timesteps:
                x = scheduler.step(network(torch.cat([x, images], 1), t).sample, t, x).prev_sample
            total += x
    guess = total[:, 0] > 0
    tp, fp, fn = (
        pair.sum((1, 2)).float() for pair in (guess & truth, guess & ~truth, ~guess & truth)
    )
    parameters = sum(p.numel() for p in network.parameters())
    return Score(mean_dice(tp, fp, fn), parameters)


def test_the_default_is_as_good_as_its_twin_and_as_an_independent_diffusion_model() -> None:
    default, twin = trained(DIFFUSION), trained("feedforward")
    other = independent(parse({**CONFIG, "mode": DIFFUSION}))
    print(f"default {default}, twin {twin}, diffusers {other}")
    assert default.parameters / other.parameters == pytest.approx(1, abs=0.25)
    assert default.dice >= twin.dice - MARGIN
    assert default.dice >= other.dice - MARGIN
