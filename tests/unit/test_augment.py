from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch

from trainables import batches
from trainables.augment import Augment, View, turned, unturned, views, warped
from trainables.config import Config
from trainables.data import Case, Norm, prepare
from trainables.run import Run
from trainables.runtime.seeding import generator
from trainables.runtime.worker_context import WorkerContext
from trainables.tiling import Window

Small = Callable[..., Config]
STILL = torch.zeros(2, 4, 4)
EVERYTHING = {"rotate": 30.0, "scale": 0.5, "elastic": 0.05, "colour": 0.2}


def view(angle: float = 0.0, zoom: float = 1.0, bend: torch.Tensor = STILL) -> View:
    return View(0, angle, zoom, bend, torch.ones(1), torch.zeros(1))


def test_a_view_that_changes_nothing_is_the_plain_crop() -> None:
    image = torch.rand(2, 20, 30)
    labels = torch.randint(3, (20, 30)).byte()
    cut, marks = warped(image, labels, Window(3, 7, 8), view())
    torch.testing.assert_close(cut, image[:, 3:11, 7:15])
    assert torch.equal(marks, labels[3:11, 7:15])


@pytest.mark.parametrize(("angle", "zoom"), [(0.3, 1.0), (0.0, 1.7), (-2.0, 0.6)])
def test_turning_and_scaling_agree_with_scipy(angle: float, zoom: float) -> None:
    smooth = scipy.ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(60, 70)), 3)
    window = Window(20, 25, 16)
    matrix = zoom * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    half = (window.size - 1) / 2
    centre = np.array([window.top + half, window.left + half])
    expected = scipy.ndimage.affine_transform(
        smooth, matrix, centre - matrix @ [half, half], (16, 16), order=1
    )
    cut, _ = warped(
        torch.from_numpy(smooth)[None].float(),
        torch.zeros(60, 70).byte(),
        window,
        view(angle, zoom),
    )
    np.testing.assert_allclose(cut[0], expected, atol=1e-5)


def test_image_and_mask_are_bent_together() -> None:
    labels = (torch.rand(64, 64) > 0.5).byte()
    labels = labels.repeat_interleave(8, 0).repeat_interleave(8, 1)  # blocks of 8
    bend = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0)) * 4
    cut, marks = warped(labels[None].float(), labels, Window(100, 100, 64), view(0.4, 1.3, bend))
    certain = (cut[0] < 0.01) | (cut[0] > 0.99)  # not between two pixels
    assert certain.float().mean() > 0.7
    assert torch.equal(marks[certain].float(), cut[0][certain].round())


def test_beyond_the_image_its_edge_goes_on_and_labels_stay_classes() -> None:
    labels = torch.tensor([[0, 2], [0, 2]]).byte()
    cut, marks = warped(labels[None].float(), labels, Window(0, 0, 8), view(0.2, 2.0))
    assert cut.shape == (1, 8, 8)
    assert set(marks.unique().tolist()) <= {0, 2}


def test_the_eight_turns_are_the_symmetries_of_the_square() -> None:
    x = torch.arange(9).view(3, 3)
    found = {tuple(turned(x, k).flatten().tolist()) for k in range(8)}
    assert len(found) == 8
    assert tuple(x.T.flatten().tolist()) in found


@pytest.mark.parametrize("turn", range(8))
def test_a_turn_is_turned_back_exactly(turn: int) -> None:
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(unturned(turned(x, turn), turn), x)


def test_draws_stay_within_what_was_asked_for() -> None:
    made = views(
        Augment(rotate=20.0, scale=1.0, elastic=0.1, colour=0.3),
        list(range(8)) * 50,
        32,
        3,
        generator("test"),
    )
    angles, zooms = (np.array([getattr(v, k) for v in made]) for k in ("angle", "zoom"))
    assert np.abs(np.degrees(angles)).max() <= 20
    assert np.degrees(angles).std() == pytest.approx(20 / math.sqrt(3), rel=0.1)
    assert 0.5 <= zooms.min() < 0.55 < 1.9 < zooms.max() <= 2
    assert max(float(v.bend.abs().max()) for v in made) <= 3.2
    assert all(bool(((v.gain - 1).abs() <= 0.3).all()) for v in made)


@pytest.mark.parametrize("augment", [{}, EVERYTHING])
def test_augmented_batches_are_shared_by_arms_and_workers(
    small: Small, augment: dict[str, float]
) -> None:
    train = {"batch": 6, "steps": 1, "augment": augment, "foreground": 0.5}
    config, twin = small(train=train), small(train=train, mode="feedforward")
    data = prepare(config.task, "tiles")
    whole, other = (
        batches.draw(Run(config, WorkerContext(), data), 3),
        batches.draw(Run(twin, WorkerContext(), data), 3),
    )
    assert torch.equal(whole.images_BCHW, other.images_BCHW)
    for rank in range(2):
        share = batches.draw(Run(config, WorkerContext(rank, 2), data), 3)
        assert torch.equal(share.images_BCHW, whole.images_BCHW[rank::2])
        assert torch.equal(share.labels_BHW, whole.labels_BHW[rank::2])


def test_augmentation_does_not_change_noise_and_times(small: Small) -> None:
    """So that an ablation of the augmentation is paired in everything else."""
    plain = small(train={"batch": 4})
    bent = small(train={"batch": 4, "augment": EVERYTHING})
    data = prepare(plain.task, "tiles")
    first, second = (
        batches.draw(Run(plain, WorkerContext(), data), 0),
        batches.draw(Run(bent, WorkerContext(), data), 0),
    )
    assert not torch.equal(first.images_BCHW, second.images_BCHW)
    for name in ("noise_BMHW", "uniform_B", "drop_B", "seeds_B"):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_aimed_crops_find_tiny_targets(small: Small) -> None:
    task = {"synthetic": {"size": 64, "discs": 1, "radius": 1.5, "cases": 8}}
    rates: dict[float, float] = {}
    for share in (0.0, 1.0):
        config = small(task=task, train={"batch": 64, "foreground": share})
        data = prepare(config.task, "images")
        narrow = type(data)(data.train, data.val, data.test, size=16)
        batch = batches.draw(Run(config, WorkerContext(), narrow), 0)
        rates[share] = float((batch.labels_BHW.flatten(1) > 0).any(1).float().mean())
    assert rates[0.0] < 0.35
    assert rates[1.0] == 1.0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rotate", 200.0, r"rotate=200.0 must lie in \[0, 180\]"),
        ("scale", -1.0, r"scale=-1.0 must lie in \[0, 3\]"),
        ("elastic", 0.5, r"elastic=0.5 must lie in \[0, 0.25\]"),
        ("colour", 2.0, r"colour=2.0 must lie in \[0, 1\]"),
    ],
)
def test_augmentation_out_of_range_is_refused(field: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augment(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("augment", [{}, {"colour": 0.3}, {"flips": False}, EVERYTHING])
@pytest.mark.parametrize("side", [40, 12])
def test_one_call_on_a_device_augments_a_batch_like_the_host(
    small: Small, augment: dict[str, Any], side: int
) -> None:
    """Regions of different sizes, at edges and corners, and of images smaller than the crop."""
    train = {"batch": 16, "augment": augment, "control": "shuffled_image"}
    config = small(train=train)
    data = dataclasses.replace(
        prepare(config.task, "tiles"),
        train=[photograph(i, side + i) for i in range(5)],
        size=16,
    )
    run = Run(config, WorkerContext(), data)
    for step in range(20):
        host, device = batches.draw(run, step), batches.prepared(run, step).to("cpu")
        for name, one, other in zip(host._fields, host, device, strict=True):
            assert (one is None) == (other is None), name
            if one is None or other is None:
                continue
            assert one.dtype == other.dtype
            if "images" in name:
                # float32 rounds a position of 60 pixels by up to 4e-6 in each of some operations,
                # and neighbours differ by less than a deviation.
                torch.testing.assert_close(other, one, rtol=0, atol=1e-4)
            elif "labels" in name:  # a position between two pixels is rounded to either
                assert (one != other).float().mean() < 1e-3
            else:
                assert torch.equal(one, other), name


def photograph(seed: int, side: int) -> Case:
    """Return an image of smooth values of any stored type, 1.5 times as wide as high."""
    draws = np.random.default_rng(seed)
    shape = (side, side * 3 // 2)
    smooth = scipy.ndimage.gaussian_filter(draws.normal(size=shape), 3)
    kind = (np.uint8, np.uint16, np.int16)[seed % 3]
    stored = np.interp(smooth, [smooth.min(), smooth.max()], [0, 255]).astype(kind)
    labels = torch.from_numpy((stored > 150).astype(np.uint8))
    norm = Norm(torch.full((1, 1, 1), 120.0), torch.full((1, 1, 1), 40.0))
    return Case(f"photograph {seed}", "group", torch.from_numpy(stored)[None], labels, None, norm)
