"""Losses that a mode adds: their values by hand, by an independent formula, and their gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.config import Config
from trainables.labels import IGNORE
from trainables.losses import Loss
from trainables.losses.l1_ace import L1ACE, LEAST
from trainables.masks import to_channels
from trainables.parsing import parse_part
from trainables.runtime.worker_context import WorkerContext
from trainables.training.loop import train

BINNINGS = ("hard", "soft")


def case(seed: int, classes: int = 3, side: int = 6, count: int = 2) -> tuple[Tensor, Tensor]:
    """Class probabilities [B, M, side, side] in double precision, and labels."""
    draws = torch.Generator().manual_seed(seed)
    channels = 1 if classes == 2 else classes
    logits = 2 * torch.randn(count, channels, side, side, generator=draws, dtype=torch.float64)
    p = logits.sigmoid() if channels == 1 else logits.softmax(1)
    return p, torch.randint(classes, (count, side, side), generator=draws).byte()


def value(loss: Loss, p: Tensor, labels: Tensor, classes: int = 3) -> Tensor:
    return loss.value(p, to_channels(labels, classes).to(p), labels)


def test_hard_bins_by_hand() -> None:
    """Two bins: p 0.2, 0.4 of which one is foreground, and p 0.9 that is background."""
    p = torch.tensor([0.2, 0.4, 0.9]).reshape(1, 1, 1, 3)
    labels = torch.tensor([0, 1, 0], dtype=torch.uint8).reshape(1, 1, 3)
    found = value(L1ACE(bins=2), p, labels, classes=2)
    assert found.tolist() == pytest.approx([(abs(0.3 - 0.5) + 0.9) / 2])


def test_soft_bins_by_hand() -> None:
    """Centres 0.25 and 0.75: p = 0.35 is shared 4 : 1, p = 0.1 belongs to the first bin."""
    p = torch.tensor([0.1, 0.35]).reshape(1, 1, 1, 2)
    labels = torch.tensor([0, 1], dtype=torch.uint8).reshape(1, 1, 2)
    found = value(L1ACE(bins=2, binning="soft"), p, labels, classes=2)
    first = abs((0.1 + 0.8 * 0.35) - 0.8) / 1.8
    second = abs(0.35 - 1)
    assert found.tolist() == pytest.approx([(first + second) / 2])


def by_definition(p: Tensor, labels: Tensor, classes: int, bins: int, *, soft: bool) -> list[float]:
    """The mean over classes of each case, pixel by pixel with numpy."""
    results: list[float] = []
    for q, y in zip(p.numpy(), labels.numpy(), strict=True):
        errors: list[float] = []
        for k in range(len(q)):
            of_class = y == (k if classes > 2 else 1)
            if not of_class.any():
                errors.append(0.0)
                continue
            sums: dict[int, list[float]] = {}
            for prob, true in zip(q[k].ravel(), of_class.ravel(), strict=True):
                at = prob * bins - 0.5
                low = int(np.floor(at))
                shares = (
                    {low: 1 - (at - low), low + 1: at - low} if soft else {int(prob * bins): 1.0}
                )
                for b, share in shares.items():
                    sums.setdefault(min(max(b, 0), bins - 1), []).append(share)
                    sums.setdefault(min(max(b, 0), bins - 1) + 1000, []).append(share * prob)
                    sums.setdefault(min(max(b, 0), bins - 1) + 2000, []).append(share * true)
            filled = [b for b in sums if b < 1000 and sum(sums[b]) >= LEAST]
            gaps = [abs(sum(sums[b + 1000]) - sum(sums[b + 2000])) / sum(sums[b]) for b in filled]
            errors.append(float(np.mean(gaps)))
        results.append(float(np.mean(errors)))
    return results


@given(seed=st.integers(0, 1000), bins=st.integers(1, 20), classes=st.sampled_from([2, 3]))
@pytest.mark.parametrize("binning", BINNINGS)
def test_the_value_is_its_definition(binning: Any, seed: int, bins: int, classes: int) -> None:
    p, labels = case(seed, classes)
    found = value(L1ACE(bins=bins, binning=binning), p, labels, classes)
    expected = by_definition(p, labels, classes, bins, soft=binning == "soft")
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("binning", BINNINGS)
def test_it_falls_to_zero_where_probabilities_are_calibrated(binning: Any) -> None:
    """In each of four groups of 100 pixels, p of them are foreground."""
    levels = (0.125, 0.375, 0.625, 0.875)  # the centres of the bins
    p = torch.cat([torch.full((1, 1, 8, 50), level) for level in levels], 2)
    labels = torch.cat([(torch.arange(400) < 400 * level).reshape(1, 8, 50) for level in levels], 1)
    loss = L1ACE(bins=4, binning=binning)
    assert value(loss, p, labels.byte(), classes=2).item() == pytest.approx(0.0, abs=1e-6)
    assert value(loss, p**2, labels.byte(), classes=2).item() > 0.05


@pytest.mark.parametrize("binning", BINNINGS)
def test_ignored_pixels_do_not_count(binning: Any) -> None:
    p, labels = case(0)
    cut = value(L1ACE(binning=binning), p[..., :4], labels[..., :4])
    labels[..., 4:] = IGNORE
    torch.testing.assert_close(value(L1ACE(binning=binning), p, labels), cut)


def test_a_class_that_an_image_does_not_have_adds_nothing() -> None:
    p, labels = case(0, classes=2)
    labels[0] = 0
    found = value(L1ACE(), p, labels, classes=2)
    assert found[0] == 0
    assert found[1] > 0


@pytest.mark.parametrize("binning", BINNINGS)
@pytest.mark.parametrize("classes", [2, 3])
def test_the_gradient_is_the_slope_of_the_value(binning: Any, classes: int) -> None:
    """By central differences, in probabilities that no step moves across the end of a bin."""
    p, labels = case(3, classes)
    p = p.float()
    loss, step = L1ACE(bins=7, binning=binning), 1e-3
    free = p.clone().requires_grad_()
    value(loss, free, labels, classes).sum().backward()
    assert free.grad is not None
    kinks = torch.arange(15) / 14
    far = ((p[..., None] - kinks).abs() > 2 * step).all(-1)
    assert far.double().mean() > 0.8
    checked = 0
    for place in far.nonzero()[::5].tolist():
        ends = []
        for sign in (1, -1):
            moved = p.clone()
            moved[tuple(place)] += sign * step
            ends.append(value(loss, moved, labels, classes).sum().item())
        slope = (ends[0] - ends[1]) / (2 * step)
        assert free.grad[tuple(place)].item() == pytest.approx(slope, abs=2e-3)
        checked += 1
    assert checked > 10


@pytest.mark.parametrize(
    "mode", [{"feedforward": {}}, {"diffusion": {"sampler": {"ddim": {"steps": 2}}}}]
)
def test_it_trains_with_the_twin_and_with_diffusion_and_changes_the_digest(
    small: Callable[..., Config], mode: dict[str, dict[str, Any]]
) -> None:
    ((name, fields),) = mode.items()
    settings = {"steps": 3, "batch": 4, "validate_every": 3}
    added = {"l1_ace": {"weight": 0.5}}
    plain, more = (
        small(mode={name: {**fields, **extra}}, train=settings)
        for extra in ({}, {"added_loss": added})
    )
    assert plain.digest() != more.digest()
    assert (
        plain.digest()
        == small(mode={name: {**fields, "added_loss": None}}, train=settings).digest()
    )
    first, second = (
        [progress.history[-1]["loss_sum"] for progress in train(c, WorkerContext())]
        for c in (plain, more)
    )
    assert cast("float", second[-1]) > cast("float", first[-1])


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="weight=-1.0 must not be negative"):
        parse_part("losses", {"l1_ace": {"weight": -1.0}})
