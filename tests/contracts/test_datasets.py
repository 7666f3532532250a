"""What every data set owes."""

from __future__ import annotations

import dataclasses
import itertools
from typing import cast

import numpy as np
import pytest

from trainables.data import prepare
from trainables.datasets import SPLITS, Dataset, Image
from trainables.datasets.synthetic import Synthetic
from trainables.part import names, parse_part

ALL = names("datasets")


def made(name: str) -> Dataset:
    return cast("Dataset", parse_part("datasets", name))


@pytest.mark.parametrize("name", ALL)
def test_images_are_complete_and_every_split_has_every_class(name: str) -> None:
    dataset = made(name)
    images = dataset.images()
    assert len({i.name for i in images}) == len(images)
    for split in SPLITS:
        mine = [i for i in images if i.split == split]
        seen = set(np.concatenate([np.unique(i.labels) for i in mine]).tolist())
        assert seen == set(range(len(dataset.classes)))
    assert all(i.pixels.shape[0] == dataset.channels for i in images)
    assert all(min(i.labels.shape) >= dataset.size for i in images)
    assert dataset.licence
    assert dataset.citation


@pytest.mark.parametrize("name", ALL)
def test_no_pixel_is_in_two_splits(name: str) -> None:
    def windows(image: Image) -> set[bytes]:
        _, height, width = image.pixels.shape
        return {
            window.tobytes()
            for top in range(height - 8 + 1)
            for left in range(0, width - 8 + 1, 8)
            for window in [image.pixels[:, top : top + 8, left : left + 8]]
            if len(np.unique(window)) > 16
        }

    by_split = {
        s: set[bytes]().union(*(windows(i) for i in made(name).images() if i.split == s))
        for s in SPLITS
    }
    for a, b in itertools.combinations(SPLITS, 2):
        assert not by_split[a] & by_split[b]


@pytest.mark.parametrize("name", ALL)
def test_reading_twice_gives_the_same_hash(name: str) -> None:
    first, again = made(name).read(), made(name).read()
    for a, b in zip(first, again, strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.pixels, b.pixels)
        np.testing.assert_array_equal(a.labels, b.labels)


@pytest.mark.parametrize("name", ALL)
def test_statistics_come_from_training_images_only(name: str) -> None:
    data = prepare(made(name), "tiles")
    pixels = np.concatenate([c.image.reshape(len(c.image), -1) for c in data.train], 1)
    np.testing.assert_allclose(pixels.mean(1), 0, atol=1e-3)
    np.testing.assert_allclose(pixels.std(1), 1, atol=1e-3)


def test_changing_one_label_changes_the_hash() -> None:
    @dataclasses.dataclass(frozen=True)
    class Touched(Synthetic):
        def read(self) -> list[Image]:
            images = super().read()
            images[-1].labels[0, 0] ^= 1
            return images

    assert Synthetic().content_hash() != Touched().content_hash()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": np.full((1, 8, 8), np.nan, np.float32)}, "bad has a NaN or inf pixel"),
        ({"labels": np.zeros((4, 4), np.uint8)}, r"bad is \(8, 8\) but its mask is \(4, 4\)"),
        ({"pixels": np.zeros((3, 8, 8), np.float32)}, "bad has 3 channels, not 1"),
        (
            {"instances": np.zeros((4, 4), np.int32)},
            r"bad is \(8, 8\) but its instances are \(4, 4\)",
        ),
        ({"labels": np.full((8, 8), 7, np.uint8)}, "bad has label 7, beyond its classes"),
    ],
)
def test_bad_images_are_named(change: dict[str, np.ndarray], message: str) -> None:
    good = Image("bad", "g", "train", np.zeros((1, 8, 8), np.float32), np.zeros((8, 8), np.uint8))
    mark = repr(sorted(change)) + message

    @dataclasses.dataclass(frozen=True)
    class Broken(Synthetic):
        unique: str = mark

        def read(self) -> list[Image]:
            others = [dataclasses.replace(good, name=s, split=s) for s in ("val", "test")]
            return [dataclasses.replace(good, **change), *others]

    with pytest.raises(ValueError, match=message):
        Broken().images()
