"""The published networks and loss, against reference code that is written from their description.

Weights are copied in the order of creation. The zero-initialised layers are drawn at random, since
they would hide a fault.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from tests.originals import DenseEncoder, FeedForward, FrequencyGate, GuidedUNet
from trainables.controls import Control
from trainables.layers.highway import FFParser, Highway
from trainables.layers.rrdb import RRDBEncoder
from trainables.models import Model, Network, Output, Ports
from trainables.modes import Batch
from trainables.modes.diffusion import Diffusion
from trainables.parsing import parse_part
from trainables.schedules.linear import Linear

SIDE, PORTS = 16, Ports(image=3, mask=1, out=2, classes=1)
SMALL: dict[str, Any] = {"multipliers": [1, 1, 2, 2], "blocks": 1, "attention": [4]}
MULT, BLOCKS, ATTENTION = [1, 1, 2, 2], 1, [4]


def built(name: str, **fields: Any) -> Network:
    torch.manual_seed(0)
    model = cast("Model", parse_part("models", {name: {**SMALL, **fields}}))
    network = model.build(PORTS).eval()
    for key, value in network.state_dict().items():
        if value.ndim > 1:
            value.normal_(std=value[0].numel() ** -0.5)
        elif "bias" in key or "mean" in key:
            value.normal_(std=0.1)
        elif value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return network


def loaded(network: Network, reference: nn.Module) -> None:
    """Copy all tensors by their order; shapes must agree."""
    source = [v for k, v in network.state_dict().items() if "num_batches" not in k]
    target = [v for k, v in reference.eval().state_dict().items() if "num_batches" not in k]
    assert [v.shape for v in source] == [v.shape for v in target]
    for theirs, ours in zip(target, source, strict=True):
        theirs.copy_(ours)


def inputs() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, 1, SIDE, SIDE, generator=draws),
        torch.randn(2, 3, SIDE, SIDE, generator=draws),
    )


def compared(network: Network, expected: Tensor, i: Tensor, last: int) -> float:
    mask, image = inputs()
    found = network(mask, i / last, image).main
    assert expected.std() > 0.1, "an output without contrast would hide a fault"
    return float((found - expected).abs().max() / expected.abs().max())


@torch.no_grad()
def test_ensemdiff_concatenates_the_image_before_the_mask_and_sees_steps_to_999() -> None:
    network, (mask, image), i = built("ensemdiff"), inputs(), torch.tensor([7, 999])
    reference = GuidedUNet(4, 2, 128, MULT, BLOCKS, ATTENTION, heads=1)
    loaded(network, reference)
    expected = reference(reference.stem(torch.cat([image, mask], 1)), i)
    assert compared(network, expected, i, 999) < 1e-5
    swapped = reference(reference.stem(torch.cat([mask, image], 1)), i)
    assert compared(network, swapped, i, 999) > 1e-2


@torch.no_grad()
def test_segdiff_adds_the_dense_features_to_the_first_and_sees_steps_to_99() -> None:
    small = {"heads": 4, "dense_blocks": 2, "dense_features": 16, "dense_growth": 8}
    network, (mask, image), i = built("segdiff", **small), inputs(), torch.tensor([7, 99])
    reference = nn.ModuleList(
        [DenseEncoder(3, 128, 2, 16, 8), GuidedUNet(1, 2, 128, MULT, BLOCKS, ATTENTION, heads=4)]
    )
    loaded(network, reference)
    dense, unet = reference
    expected = unet(unet.stem(mask) + dense(image), i)  # type: ignore[operator]
    assert compared(network, expected, i, 99) < 1e-5
    assert compared(network, expected, i, 999) > 1e-3


@torch.no_grad()
def test_medsegdiff_new_adds_the_half_resolution_map_twice_and_the_quarter_once() -> None:
    network, (mask, image), i = built("medsegdiff_new"), inputs(), torch.tensor([7, 999])
    reference = nn.ModuleList(
        [GuidedUNet(4, 2, 128, MULT, BLOCKS, ATTENTION, heads=1), FeedForward(3, 1, 32)]
    )
    loaded(network, reference)
    unet, highway = cast("tuple[GuidedUNet, FeedForward]", tuple(reference))
    logits, full, half, quarter = highway.decode(*highway.encode(image, []))
    middle = functional.interpolate(half, scale_factor=2, mode="bilinear")
    coarse = functional.interpolate(quarter, scale_factor=4, mode="bilinear")
    stem = unet.stem(torch.cat([image, mask], 1))

    def expected(*maps: Tensor) -> Tensor:
        return unet(stem + torch.cat(maps, 1), i)

    assert compared(network, expected(middle, middle, coarse), i, 999) < 1e-5
    assert compared(network, expected(full, middle, coarse), i, 999) > 1e-2
    torch.testing.assert_close(network(mask, i / 999, image).auxiliary, logits)


@torch.no_grad()
def test_medsegdiff_v1_gates_the_poolings_and_adds_the_bottlenecks() -> None:
    # A "fixed" bottleneck is a buffer, which comes in another place of the order.
    network = built("medsegdiff_v1", map_size=SIDE, bottleneck="learned")
    (mask, image), i = inputs(), torch.tensor([7, 999])
    widths = ((128, 32, 8), (128, 64, 4), (256, 128, 2))
    reference = nn.ModuleList(
        [
            GuidedUNet(4, 2, 128, MULT, BLOCKS, ATTENTION, heads=1),
            FeedForward(3, 1, 32),
            nn.ModuleList(FrequencyGate(*width) for width in widths),
            nn.Conv2d(128, 256, 1),
        ]
    )
    loaded(network, reference)
    unet, highway, gates, projection = cast(
        "tuple[GuidedUNet, FeedForward, nn.ModuleList, nn.Conv2d]", tuple(reference)
    )
    side_branch: list[Tensor] = []

    def bottleneck(pooled: list[Tensor]) -> Tensor:
        each = [gate(h) for gate, h in zip(gates, pooled, strict=True)]
        deepest, kept = highway.encode(image, each)
        side_branch.append(highway.decode(deepest, kept)[0])
        return projection(deepest)

    expected = unet(unet.stem(torch.cat([image, mask], 1)), i, bottleneck)
    assert compared(network, expected, i, 999) < 1e-5
    torch.testing.assert_close(network(mask, i / 999, image).auxiliary, side_branch[0])


def test_the_time_that_a_network_sees_is_a_field_of_its_model() -> None:
    steps = {
        name: cast("Any", parse_part("models", name)).timesteps
        for name in ("ensemdiff", "segdiff", "medsegdiff_v1", "medsegdiff_new")
    }
    assert steps == {
        "ensemdiff": 1000, "segdiff": 100, "medsegdiff_v1": 1000, "medsegdiff_new": 1000,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"timesteps=1 must be at least 2"):
        parse_part("models", {"segdiff": {"timesteps": 1}})


def test_the_dense_encoder_starts_as_torch_initialises_convolutions() -> None:
    """Uniform in ±1/√fan_in, so the standard deviation is 1/√(3·fan_in)."""
    torch.manual_seed(0)
    encoder = RRDBEncoder(3, 128, blocks=1, features=64, growth=32)
    for weight in (p for p in encoder.parameters() if p.ndim == 4):
        fan_in = weight[0].numel()
        assert weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.05)


def test_the_convolutions_around_a_highway_start_by_he_with_no_bias() -> None:
    torch.manual_seed(0)
    made: list[nn.Module] = [FFParser(512, 256, 8), Highway(3, 1, 32, 4)]
    convolutions = [m for part in made for m in part.modules() if isinstance(m, nn.Conv2d)]
    for layer in convolutions:
        if layer.weight.numel() > 500:
            gain = math.sqrt(2 / (1 + 0.01**2))
            expected = gain / math.sqrt(layer.weight[0].numel())
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.1)
        assert layer.bias is None or not layer.bias.any()
    assert len(convolutions) > 10


class Constant(Network):
    """Returns the same output for everything."""

    def __init__(self, main: Tensor) -> None:
        super().__init__()
        self.main = nn.Parameter(main)

    def forward(self, x: Any, t_B: Any, images: Any, features: Any = None) -> Output:
        return Output(self.main)


def hybrid(encoding: dict[str, float], step: int) -> tuple[Tensor, float, float]:
    """The loss of two cases at one step; the expected mean squared error and bound of the first.

    The bound is that of Nichol & Dhariwal 2021 for a discrete process, in double precision: the
    posterior from β and ᾱ, the mean from the unclipped estimate.
    """
    fields = {"target": "eps", "loss": "hybrid", "encoding": {"onehot": encoding}}
    mode = cast("Diffusion", parse_part("modes", {"diffusion": {**fields, "image_dropout": 0.0}}))
    draws = torch.Generator().manual_seed(step)
    labels = torch.randint(2, (2, 4, 4), generator=draws).byte()
    noise, main = (torch.randn(2, c, 4, 4, generator=draws) for c in (1, 2))
    t = torch.full((2,), step / 999, dtype=torch.float64)
    batch = Batch(torch.zeros(2, 1, 4, 4), labels, t, t, t, torch.arange(2), noise)
    control: Control = "none"
    losses = mode.losses(Constant(main), batch, 2, control)

    beta = np.linspace(1e-4, 0.02, 1000)
    bar = np.cumprod(1 - beta)
    before = np.append(1.0, bar)[step]
    low = encoding.get("offset", 0.0) - encoding.get("scale", 1.0)
    high = encoding.get("offset", 0.0) + encoding.get("scale", 1.0)
    x0 = np.where(labels[0].numpy() > 0, high, low)
    eps, (guess, raw) = noise[0, 0].double().numpy(), main[0].double().numpy()
    x = np.sqrt(bar[step]) * x0 + np.sqrt(1 - bar[step]) * eps
    estimate = (x - np.sqrt(1 - bar[step]) * guess) / np.sqrt(bar[step])
    posterior = beta * (1 - np.append(1.0, bar[:-1])) / (1 - bar)
    least = posterior[max(step, 1)]
    share = (raw + 1) / 2
    variance = np.exp(share * np.log(beta[step]) + (1 - share) * np.log(least))
    if step == 0:
        half, centre = (high - low) / 2 / 255, (high + low) / 2
        normal = stats.norm(estimate, np.sqrt(variance))
        upper = np.where(x0 > centre, np.inf, x0 + half)
        lower = np.where(x0 < centre, -np.inf, x0 - half)
        terms = -np.log(np.maximum(normal.cdf(upper) - normal.cdf(lower), 1e-12))
    else:
        mean = np.sqrt(before) * beta[step] / (1 - bar[step]) * (estimate - x0)
        terms = (
            np.log(variance / posterior[step]) - 1 + (posterior[step] + mean**2) / variance
        ) / 2
    return losses, float(((guess - eps) ** 2).mean()), float(terms.mean() / np.log(2))


@pytest.mark.parametrize("encoding", [{}, {"scale": 0.5, "offset": 0.5}], ids=["±1", "01"])
@pytest.mark.parametrize("step", [0, 1, 30, 500, 998])
def test_the_hybrid_loss_is_the_published_one_at_every_step(
    encoding: dict[str, float], step: int
) -> None:
    """At late steps the estimate lies far outside the masks' range, where clipping would show."""
    losses, error, bound = hybrid(encoding, step)
    assert losses[0].item() == pytest.approx(error + bound, rel=2e-4)


def test_the_steps_of_the_linear_schedule_are_those_of_the_discrete_process() -> None:
    bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    t = torch.arange(1000, dtype=torch.float64) / 999
    np.testing.assert_allclose(Linear().log_snr(t), np.log(bar / (1 - bar)), atol=1e-9)
