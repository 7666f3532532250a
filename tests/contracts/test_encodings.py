"""What every mask encoding owes."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import pytest
import torch

from trainables import masks
from trainables.diffusion import alpha_sigma
from trainables.encodings import Encoding
from trainables.parsing import parse_part
from trainables.part import names

ALL = names("encodings")
BITS = [name for name in ALL if cast("Encoding", parse_part("encodings", name)).pixelwise]
"""The encodings whose channels are bits of the class of the pixel."""
CASES = [(name, classes) for name in BITS for classes in (2, 3, 4, 6)]


def made(name: str, **fields: float) -> Encoding:
    return cast("Encoding", parse_part("encodings", {name: fields}))


def labels(classes: int) -> torch.Tensor:
    return torch.randint(classes, (2, 8, 8), generator=torch.Generator().manual_seed(0)).byte()


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.5, 0.5), (0.3, -1.0)])
@pytest.mark.parametrize(("name", "classes"), CASES)
def test_a_clean_mask_is_read_back_as_it_was(
    name: str, classes: int, scale: float, offset: float
) -> None:
    encoding, y = made(name, scale=scale, offset=offset), labels(classes)
    mask = encoding.mask(y, classes)
    assert mask.shape[1] == encoding.channels(classes)
    x0 = encoding.to_x0(mask)
    near = torch.tensor([offset - scale, offset + scale])
    assert ((x0[..., None] - near).abs().amin(-1) < 1e-6).all()
    torch.testing.assert_close(encoding.clamp(x0), x0)
    p = encoding.classes(encoding.to_mask(x0), classes)
    assert p.shape[1] == masks.channels(classes)
    assert torch.equal(masks.to_labels(p), y)


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize(("scale", "offset", "radius"), [(1.0, 0.0, 8.0), (0.3, -1.0, 1.5)])
def test_signed_distances_are_those_of_a_brute_force_search_and_give_the_mask_back(
    classes: int, scale: float, offset: float, radius: float
) -> None:
    encoding, y = made("sdf", scale=scale, offset=offset, radius=radius), labels(classes)
    y[0, 2:6, 2:7] = 1  # so that some pixels lie deeper than their neighbours
    x0 = encoding.encoded(y, classes)
    mask = masks.to_channels(y, classes)
    for b, m, row, column in np.ndindex(*mask.shape):
        other = (mask[b, m] != mask[b, m, row, column]).nonzero()
        pixels = (other - torch.tensor([row, column])).double().norm(dim=1).min().item() - 0.5
        sign = 1 if mask[b, m, row, column] else -1
        expected = offset + scale * sign * min(pixels, radius) / radius
        assert x0[b, m, row, column].item() == pytest.approx(expected, abs=1e-6)
    p = encoding.classes(encoding.to_mask(x0), classes)
    assert torch.equal(masks.to_labels(p), y)
    torch.testing.assert_close(encoding.clamp(x0), x0)


def test_a_plane_of_one_class_has_the_largest_distance_and_ignored_pixels_have_none() -> None:
    encoding = made("sdf", radius=2.0, offset=0.25)
    y = torch.zeros(2, 4, 4, dtype=torch.uint8)
    y[1] = 1
    y[1, 0, 0] = masks.IGNORE
    x0 = encoding.encoded(y, 2)
    assert (x0[0] == -0.75).all()
    assert x0[1, 0, 0, 0] == 0.25
    assert x0[1, 0, 2:, 2:].min() > 0.25


@pytest.mark.parametrize("name", ["onehot", "sdf"])
def test_the_information_of_a_mask_does_not_depend_on_its_encoding(name: str) -> None:
    """½∫E‖ε − ε̂‖²dλ is the entropy of the mask (Guo et al. 2005), under the exact denoiser."""
    y = torch.tensor([[int(bit) for bit in f"{i:05b}"] for i in range(32)]).byte()[:, None]
    x0 = made(name).encoded(y, 2).flatten(1).double()
    draws = torch.Generator().manual_seed(0)
    levels = torch.linspace(-14, 14, 141, dtype=torch.float64)
    errors: list[float] = []
    for level in levels:
        alpha, sigma = alpha_sigma(level)
        true = x0.repeat(400, 1)
        x = alpha * true + sigma * torch.randn(true.shape, generator=draws, dtype=torch.float64)
        log_p = -(x[:, None] - alpha * x0).square().sum(-1) / (2 * sigma**2)
        error = (log_p.softmax(1) @ x0 - true).square().sum(1).mean()
        errors.append(float(level.exp() * error / 2))
    nats = float(torch.trapezoid(torch.tensor(errors).double(), levels))
    assert nats == pytest.approx(5 * math.log(2), rel=0.02)


@pytest.mark.parametrize(("name", "classes"), CASES)
def test_the_cross_entropy_is_that_of_the_channels_probabilities(name: str, classes: int) -> None:
    encoding, y = made(name), labels(classes)
    mask = encoding.mask(y, classes)
    logits = torch.randn(mask.shape, generator=torch.Generator().manual_seed(1)).double()
    p = encoding.expected(logits)
    if name == "onehot" and classes > 2:
        expected = -(mask * p.log()).sum(1)
    else:
        expected = -torch.where(mask.bool(), p, 1 - p).log().sum(1)
    torch.testing.assert_close(encoding.cross_entropy(logits, mask.double()), expected)


@pytest.mark.parametrize(("name", "classes"), CASES)
def test_class_probabilities_come_from_channel_probabilities(name: str, classes: int) -> None:
    encoding, y = made(name), labels(classes)
    truth = masks.to_channels(y, classes)
    torch.testing.assert_close(encoding.of_classes(truth, classes), encoding.mask(y, classes))
    p = torch.rand(encoding.mask(y, classes).shape)
    found = encoding.classes(p, classes)
    if classes > 2:
        torch.testing.assert_close(found.sum(1), torch.ones(2, 8, 8))
    assert found.min() >= 0


def test_bits_are_fewer_and_codes_without_a_class_get_no_probability() -> None:
    encoding = made("bits")
    assert [encoding.channels(k) for k in (2, 3, 4, 5, 8, 9)] == [1, 2, 2, 3, 3, 4]
    p = torch.tensor([0.9, 0.8])[None, :, None, None]  # lowest bit first
    raw = torch.tensor([0.1 * 0.2, 0.9 * 0.2, 0.1 * 0.8])  # classes 0, 1, 2; code 3 means nothing
    torch.testing.assert_close(encoding.classes(p, 3)[0, :, 0, 0], raw / raw.sum())


@pytest.mark.parametrize("name", ALL)
def test_a_scale_outside_its_domain_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=r"scale=0\.0 must be positive"):
        made(name, scale=0.0)
