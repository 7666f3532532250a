"""What every mode owes: a loss per case, probabilities, and draws that only the seed decides."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from trainables.models import Network
from trainables.models.ensemdiff import EnsemDiff
from trainables.modes import Batch, Mode
from trainables.part import names, parse_part

ALL = names("modes")


def network(channels: int) -> Network:
    torch.manual_seed(0)
    made = EnsemDiff(channels=8, multipliers=(1, 2), blocks=1, attention=()).build(
        1, channels, channels
    )
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made.eval()


def mode(name: str) -> Mode:
    return cast("Mode", parse_part("modes", name))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_loss_is_one_finite_number_per_case_with_a_gradient(name: str, channels: int) -> None:
    labels = torch.randint(0, max(2, channels), (4, 8, 8))
    masks = (
        labels[:, None].float()
        if channels == 1
        else torch.nn.functional.one_hot(labels, channels).movedim(-1, 1).float()
    )
    batch = Batch(
        torch.randn(4, 1, 8, 8), masks, torch.rand(4), torch.rand(4), torch.randn(masks.shape)
    )
    model = network(channels)
    losses = mode(name).loss(model, batch)
    assert losses.shape == (4,)
    assert losses.isfinite().all()
    losses.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_predictions_are_probabilities(name: str, channels: int) -> None:
    p = mode(name).predict(network(channels), torch.randn(2, 1, 8, 8), channels, [1, 2])
    assert p.shape == (2, channels, 8, 8)
    assert p.min() >= 0
    assert p.max() <= 1
    if channels > 1:
        torch.testing.assert_close(p.sum(1), torch.ones(2, 8, 8))


@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_a_case_is_predicted_alike_in_every_batch(name: str) -> None:
    model, images = network(1), torch.randn(3, 1, 8, 8)
    together = mode(name).predict(model, images, 1, [5, 6, 7])
    alone = mode(name).predict(model, images[1:2], 1, [6])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_passes_are_what_the_mode_says(name: str) -> None:
    calls: list[int] = []
    model = network(1)
    model.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    mode(name).predict(model, torch.randn(2, 1, 8, 8), 1, [1, 2])
    assert sum(calls) == 2 * mode(name).passes
