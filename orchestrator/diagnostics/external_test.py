"""Checks of the images of an external test before anything runs."""

from __future__ import annotations

import functools
import hashlib

from orchestrator.formatting import plural
from trainables.config import Config
from trainables.datasets import Dataset
from trainables.decoding.cache import load
from trainables.decoding.loaded import Image
from trainables.part import require
from trainables.training.trained_model import MOST_DEVIATIONS


def check_images(config: Config) -> None:
    """Check that a network can read the images of its external test and was not trained on them.

    Raises:
        ValueError: they have values of another kind or scale, or one is a training or validation
            image.
    """
    task, on = config.task, config.tested
    trained, external = load(task), load(on)
    types, known = _types(on), _types(task)
    require(
        types <= known or "float32" in known,
        f"{on.title} has values of type {' and '.join(sorted(types))}, the network is trained on"
        f" {' and '.join(sorted(known))}",
    )
    for mean, usual, std in zip(
        external.mean.tolist(), trained.mean.tolist(), trained.std.tolist(), strict=True
    ):
        require(
            abs(mean - usual) <= MOST_DEVIATIONS * std,
            f"{on.title} has a mean of {mean:.4g}, the training images of {task.title} have"
            f" {usual:.4g} ± {std:.4g}: its values have another scale",
        )
    splits = ("train", "val", "test") if config.test.cases == "all" else ("test",)
    seen = _hashes(task, ("train", "val")) & _hashes(on, splits)
    require(
        not seen,
        f"{on.title} shares {plural(len(seen), 'image')} with the training and validation images of"
        f" {task.title}: test on other images, or with --cases test on its test split",
    )


@functools.lru_cache(maxsize=64)
def _types(dataset: Dataset) -> frozenset[str]:
    return frozenset(image.pixels.dtype.name for image in load(dataset).images)


@functools.lru_cache(maxsize=64)
def _hashes(dataset: Dataset, splits: tuple[str, ...]) -> frozenset[str]:
    """Return the hash of the pixels of each image in some splits."""
    return frozenset(_hash(image) for image in load(dataset).images if image.split in splits)


def _hash(image: Image) -> str:
    shape = str(image.pixels.shape).encode()
    return hashlib.sha256(shape + image.pixels.tobytes()).hexdigest()
