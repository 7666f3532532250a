"""The layers that are not torch's: frequency filters, seeded dropout; and the grey-level table."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from trainables.interfaces.network import seed_layers
from trainables.layers.dropout import Dropout2d, DropPath
from trainables.layers.highway import FFParser, resampled
from trainables.models import Model, Ports
from trainables.parsing import parse_part
from trainables.runtime.seeding import hashed


def parser(side: int) -> FFParser:
    torch.manual_seed(0)
    made = FFParser(4, 4, side)
    with torch.no_grad():
        made.squeeze.weight.copy_(torch.eye(4)[:, :, None, None])
        made.squeeze.bias.zero_()  # type: ignore[union-attr]
    return made


@torch.no_grad()
def test_a_filter_is_a_circular_convolution() -> None:
    """Shifting by (1, 2) pixels multiplies the spectrum by a phase."""
    made, x = parser(8), torch.randn(2, 4, 8, 8)
    rows = torch.fft.fftfreq(8)[:, None]
    columns = torch.fft.rfftfreq(8)[None]
    phase = torch.exp(-2j * torch.pi * (rows + 2 * columns))
    made.filter.copy_(torch.stack([phase.real, phase.imag])[:, None].expand(-1, 4, -1, -1))
    shifted = x.roll((1, 2), (2, 3))
    expected = made.spatial(shifted) * shifted.mean((2, 3), keepdim=True)
    torch.testing.assert_close(made(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("side", [4, 6, 7, 12, 16, 20])
@torch.no_grad()
def test_a_filter_stored_for_one_size_keeps_its_shape_over_frequency_at_others(side: int) -> None:
    """A low pass linear in |frequency| is interpolated exactly, its peak staying at zero."""

    def low_pass(size: int) -> torch.Tensor:
        rows = torch.fft.fftfreq(size).abs()[:, None]
        columns = torch.fft.rfftfreq(size)[None]
        return (1 - rows).expand(-1, size // 2 + 1) * torch.ones_like(columns)

    stored = low_pass(8)[None, None]
    found = resampled(stored, side, side // 2 + 1)[0, 0]
    # An odd number of rows stops short of half a cycle: its grid is stretched a little.
    near = 1e-6 if side % 2 == 0 else 0.5 / side
    torch.testing.assert_close(found, low_pass(side), atol=near, rtol=0)
    assert found[0, 0] == 1


def test_hashed_draws_are_uniform_and_belong_to_seed_layer_and_place() -> None:
    u = hashed(torch.arange(500), 3, 400)
    assert u.min() >= 0
    assert u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=0.003)
    assert u.var() == pytest.approx(1 / 12, abs=0.001)
    both = torch.corrcoef(
        torch.stack([u[:-1].flatten(), u[1:].flatten(), u[:-1].roll(1, 1).flatten()])
    )
    assert (both - torch.eye(3)).abs().max() < 0.01
    assert torch.equal(hashed(torch.tensor([7]), 3, 400)[0], u[7])
    assert not torch.equal(hashed(torch.tensor([7]), 4, 400)[0], u[7])


def test_dropout_keeps_the_mean_and_drops_whole_channels() -> None:
    layer = Dropout2d(0.5)
    layer.seeds = torch.arange(200)
    out = layer(torch.ones(200, 50, 2, 2))
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(out[:, :, :1, :1].expand_as(out), out)
    assert out.mean() == pytest.approx(1, abs=0.03)
    assert torch.equal(layer.eval()(out), out)


def test_drop_path_keeps_the_mean_and_drops_whole_cases_each_branch_by_its_own_draw() -> None:
    layer, ones, seeds = DropPath(0.25), torch.ones(2000, 3, 2), torch.arange(2000)
    seed_layers(layer, seeds)
    first, second = layer(ones), layer(ones)
    kept = first[:, 0, 0] > 0
    assert torch.equal(first, (kept / 0.75)[:, None, None].expand_as(first))
    assert first.mean() == pytest.approx(1, abs=0.04)
    both = ((first > 0) & (second > 0)).double().mean()
    assert both == pytest.approx(0.75**2, abs=0.03)
    seed_layers(layer, seeds)
    assert torch.equal(layer(ones), first)
    assert torch.equal(layer.eval()(ones), ones)


def intensity(**fields: int) -> Model:
    return cast("Model", parse_part("models", {"intensity": fields}))


def test_intensity_with_one_level_is_the_class_prevalence() -> None:
    labels = (torch.arange(64).reshape(1, 8, 8) < 16).byte()
    network = intensity(levels=1).build(Ports(1, 1, 1))
    image = torch.randn(1, 1, 8, 8)
    network.fit(image, labels)
    p = network(torch.zeros(1, 1, 8, 8), torch.zeros(1), image).main.sigmoid()
    torch.testing.assert_close(p, torch.full_like(p, 0.25))


def test_intensity_finds_the_threshold_that_made_the_mask() -> None:
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    labels = (image[:, 0] > 0.5).byte()
    network = intensity().build(Ports(1, 1, 1))
    network.fit(image, labels)
    found = network(torch.zeros_like(image), torch.zeros(1), image).main[:, 0] > 0
    assert (found != labels.bool()).double().mean() < 0.02
