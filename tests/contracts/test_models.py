"""What every network owes."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from trainables.models import Model, Network
from trainables.models.ensemdiff import EnsemDiff
from trainables.part import names, parse_part

SMALL = {"ensemdiff": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention": [2]}}
ALL = names("models")


def small(name: str) -> Model:
    return cast("Model", parse_part("models", {name: SMALL.get(name, {})}))


def built(name: str, image: int = 3, mask: int = 3) -> Network:
    torch.manual_seed(0)
    network = small(name).build(image, mask, mask)
    for parameter in network.parameters():  # published zero initialisations would hide a fault
        torch.nn.init.normal_(parameter, std=0.1)
    network.fit(torch.randn(4, image, 16, 16), torch.randint(0, mask, (4, 16, 16)).byte())
    return network.eval()


def inputs(batch: int = 3, side: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, 3, side, side, generator=draws),
        torch.rand(batch, generator=draws),
        torch.randn(batch, 3, side, side, generator=draws),
    )


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("side", [8, 16])
def test_output_has_one_finite_map_per_mask_channel_at_any_allowed_size(
    name: str, side: int
) -> None:
    out = built(name)(*inputs(side=side))
    assert out.shape == (3, 3, side, side)
    assert out.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_a_case_does_not_depend_on_its_batch(name: str) -> None:
    network = built(name)
    mask, t, image = inputs()
    alone = torch.cat([network(mask[i : i + 1], t[i : i + 1], image[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(mask, t, image), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_learns(name: str) -> None:
    network = built(name)
    out = network(*inputs())
    if out.requires_grad:
        out.square().sum().backward()
    idle = [k for k, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert small(name).learns == bool(list(network.parameters()))


@pytest.mark.parametrize("name", ALL)
def test_the_image_matters(name: str) -> None:
    network = built(name)
    mask, t, image = inputs()
    assert not torch.equal(network(mask, t, image), network(mask, t, image.flip(0)))


@pytest.mark.parametrize("name", [n for n in ALL if small(n).learns])
def test_mask_and_time_matter_to_what_denoises(name: str) -> None:
    network = built(name)
    mask, t, image = inputs()
    assert not torch.allclose(network(mask, t, image), network(mask.flip(0), t, image))
    assert not torch.allclose(network(mask, t, image), network(mask, 1 - t, image))


def test_ensemdiff_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = EnsemDiff().build(image_channels=4, mask_channels=1, out_channels=2)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    assert millions == pytest.approx(113.67, abs=0.005)


def test_intensity_with_one_level_is_the_class_prevalence() -> None:
    labels = (torch.arange(64).reshape(1, 8, 8) < 16).byte()
    network = cast("Model", parse_part("models", {"intensity": {"levels": 1}})).build(1, 1, 1)
    image = torch.randn(1, 1, 8, 8)
    network.fit(image, labels)
    p = network(torch.zeros(1, 1, 8, 8), torch.zeros(1), image).sigmoid()
    torch.testing.assert_close(p, torch.full_like(p, 0.25))


def test_intensity_finds_the_threshold_that_made_the_mask() -> None:
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    labels = (image[:, 0] > 0.5).byte()
    network = cast("Model", parse_part("models", "intensity")).build(1, 1, 1)
    network.fit(image, labels)
    found = network(torch.zeros_like(image), torch.zeros(1), image)[:, 0] > 0
    assert (found != labels.bool()).double().mean() < 0.02
