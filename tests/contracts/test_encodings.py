"""What every mask encoding owes."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from trainables import masks
from trainables.encodings import Encoding
from trainables.part import names, parse_part

ALL = names("encodings")
CASES = [(name, classes) for name in ALL for classes in (2, 3, 4, 6)]


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
