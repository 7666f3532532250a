from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from trainables.datasets.patterns import Patterns

SHAPES = ("lesion", "nuclei", "stripes")


def drawn(task: Patterns, count: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    draws = np.random.default_rng(7)
    masks = np.stack([task.draw(draws) for _ in range(count)])
    images = masks + task.noise * draws.standard_normal(masks.shape)
    return masks, images.astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_prevalence_is_the_share_of_foreground(shape: str) -> None:
    task = Patterns(shape=shape, size=32)  # type: ignore[arg-type]
    masks, _ = drawn(task, 400)
    assert masks.mean() == pytest.approx(task.prevalence(), abs=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_posterior_is_calibrated(shape: str) -> None:
    """Of the pixels that it gives p, the share p is foreground."""
    task = Patterns(shape=shape, size=32, noise=3.0)  # type: ignore[arg-type]
    masks, images = drawn(task, 400)
    p = np.stack([task.posterior(x) for x in images])
    for low in np.arange(0, 1, 0.2):
        inside = (p >= low) & (p <= low + 0.2)
        excess = ((masks - p) * inside).sum((1, 2))  # images are independent, pixels are not
        assert abs(excess.sum()) < 4 * np.sqrt((excess**2).sum())


def test_the_posterior_is_bayes_rule_over_the_whole_image() -> None:
    """Stripes are few enough to do it the long way, with the normal density itself."""
    task = Patterns(shape="stripes", size=16, noise=2.0)
    _, (image,) = drawn(task, 1)
    draws = np.random.default_rng(0)
    every = np.unique(np.stack([task.draw(draws) for _ in range(500)]), axis=0)
    assert len(every) == 8  # two directions, phases 0..3 of a width of 2
    log_p = -((image[None].astype(np.float64) - every) ** 2).sum((1, 2)) / (2 * task.noise**2)
    weights = np.exp(log_p - log_p.max())
    expected = np.tensordot(weights / weights.sum(), every, 1)
    np.testing.assert_allclose(task.posterior(image), expected, atol=1e-9)


def test_scale_is_the_size_of_what_is_drawn() -> None:
    for scale in (0.0625, 0.125, 0.25):
        task = Patterns(shape="lesion", size=64, scale=scale)
        mask = task.draw(np.random.default_rng(0))
        assert mask.sum() == pytest.approx(np.pi * (64 * scale) ** 2, rel=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 20}, "size=20 must be a multiple of 16"),
        ({"noise": 0.0}, "noise=0.0 must be positive"),
        ({"shape": "nuclei", "scale": 0.2}, r"scale=0.2 must lie in \[1/size, 0.125\]"),
        ({"cases": 0}, "cases=0 must be at least 1"),
    ],
)
def test_impossible_patterns_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Patterns(**fields)  # type: ignore[arg-type]
