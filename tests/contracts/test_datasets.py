"""What every data set owes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from tests import trees
from trainables.data import prepare
from trainables.datasets import SPLITS, Dataset, Located, Raster, Source
from trainables.datasets.synthetic import Synthetic
from trainables.decoding.cache import forget, load
from trainables.decoding.loaded import Image
from trainables.parsing import parse_part
from trainables.part import Location, identity, names, plain

without_torch_em = pytest.mark.skipif(find_spec("torch_em") is None, reason="no torch_em here")
ALL = [
    pytest.param(name, marks=without_torch_em if name == "torch_em" else ())
    for name in names("datasets")
]


@pytest.fixture(scope="module", autouse=True)
def _trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every reader finds its official layout, small, below ``$SEGPRINT_DATA``."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGPRINT_DATA", str(trees.write_all(root)))
        forget()
        yield
    forget()


def made(name: str, **fields: object) -> Dataset:
    return cast("Dataset", parse_part("datasets", {name: fields}))


@pytest.mark.parametrize("name", ALL)
def test_a_reader_of_files_is_tested_on_its_official_layout(name: str) -> None:
    assert not isinstance(made(name), Located) or name in trees.WRITERS


@pytest.mark.parametrize("name", ALL)
def test_images_are_complete_and_every_split_has_every_class(name: str) -> None:
    dataset = made(name)
    images = load(dataset).images
    assert len({i.name for i in images}) == len(images)
    for split in SPLITS:
        mine = [i for i in images if i.split == split]
        seen = set(np.concatenate([np.unique(i.labels) for i in mine]).tolist())
        assert seen == set(range(len(dataset.classes)))
    assert all(i.pixels.shape[0] == dataset.channels for i in images)
    assert all(i.pixels.shape[1:] == i.targets.shape for i in images)
    assert dataset.licence
    assert dataset.citation


@pytest.mark.parametrize("name", ALL)
def test_no_group_is_in_two_splits(name: str) -> None:
    splits = {(i.group, i.split) for i in load(made(name)).images}
    assert len(splits) == len({group for group, _ in splits})


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

    images = load(made(name)).images
    by_split = {
        s: set[bytes]().union(*(windows(i) for i in images if i.split == s)) for s in SPLITS
    }
    for a, b in itertools.combinations(SPLITS, 2):
        assert not by_split[a] & by_split[b]


@pytest.mark.parametrize("name", ALL)
def test_scanning_twice_gives_the_same_images_in_the_same_order(name: str) -> None:
    first, again = ([s for s in made(name).scan() if isinstance(s, Source)] for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert (a.name, a.group, a.split) == (b.name, b.group, b.split)
    for a, b in zip(first[::5], again[::5], strict=True):
        np.testing.assert_array_equal(a.read().pixels, b.read().pixels)
        np.testing.assert_array_equal(a.read().labels, b.read().labels)


@pytest.mark.parametrize("name", ALL)
def test_statistics_come_from_training_images_only(name: str) -> None:
    data = prepare(made(name), "images")
    pixels = np.concatenate([c.image.reshape(len(c.image), -1) for c in data.train], 1)
    np.testing.assert_allclose(pixels.mean(1), 0, atol=1e-3)
    np.testing.assert_allclose(pixels.std(1), 1, atol=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_class_counts_add_up_to_the_pixels_of_each_split(name: str) -> None:
    found = load(made(name))
    for split in SPLITS:
        pixels = sum(i.labels.size for i in found.images if i.split == split)
        assert sum(found.pixels[split]) == pixels


@pytest.mark.parametrize("name", ALL)
def test_where_the_files_lie_is_in_the_plain_form_and_not_in_the_identity(name: str) -> None:
    dataset = made(name)
    assert parse_part("datasets", plain(dataset)) == dataset
    if isinstance(dataset, Located):
        moved = dataclasses.replace(dataset, at=Location("elsewhere"))
        assert plain(moved) != plain(dataset)
        assert identity(moved) == identity(dataset)


def test_changing_one_label_changes_the_hash() -> None:
    @dataclasses.dataclass(frozen=True)
    class Touched(Synthetic):
        def scan(self) -> Iterator[Source]:
            *others, last = super().scan()
            raster = last.read()
            raster.labels[0, 0] ^= 1
            yield from [*others, Source.of(last.name, last.group, last.split, raster)]

    assert load(Synthetic()).content_hash != load(Touched()).content_hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": np.full((1, 8, 8), np.nan, np.float32)}, "bad: has a NaN or inf pixel"),
        ({"labels": np.zeros((4, 4), np.uint8)}, r"bad: is \(8, 8\) but its mask is \(4, 4\)"),
        ({"pixels": np.zeros((3, 8, 8), np.float32)}, "bad: has 3 channels, not 1"),
        (
            {"instances": np.zeros((4, 4), np.int32)},
            r"bad: is \(8, 8\) but its instances are \(4, 4\)",
        ),
        ({"labels": np.full((8, 8), 7, np.uint8)}, "bad: has label 7, beyond its classes"),
    ],
)
def test_bad_images_are_named(change: dict[str, np.ndarray], message: str) -> None:
    good = Raster(np.zeros((1, 8, 8), np.float32), np.zeros((8, 8), np.uint8))

    @dataclasses.dataclass(frozen=True)
    class Broken(Synthetic):
        unique: str = repr(sorted(change)) + message

        def scan(self) -> Iterator[Source]:
            yield Source.of("bad", "g", "train", good._replace(**change))
            for split in ("val", "test"):
                yield Source.of(split, split, split, good)

    with pytest.raises(ValueError, match=message):
        load(Broken())


MINE = '''
"""Squares that I drew."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.datasets import SPLITS, Dataset, Raster, Source


@dataclass(frozen=True)
class Mine(Dataset):
    licence: ClassVar[str] = "mine"
    citation: ClassVar[str] = "me"
    size: int = 16

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "square")

    @property
    def channels(self) -> int:
        return 1

    def scan(self) -> Iterator[Source]:
        for split in SPLITS:
            labels = np.zeros((16, 16), np.uint8)
            labels[4:9, 4:9] = 1
            yield Source.of(split, split, split, Raster(labels[None] * 100, labels))
'''


def test_a_data_set_in_a_file_of_the_users_own_works_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "squares.py"
    path.write_text(MINE)
    mine = made(str(path))
    assert (mine.name, mine.title, mine.classes) == ("squares", "squares", ("background", "square"))
    assert parse_part("datasets", plain(mine)) == mine
    assert identity(mine) == {"squares": {"size": 16}}
    assert torch.equal(prepare(mine, "tiles").test[0].labels[4:9, 4:9], torch.ones(5, 5).byte())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("x = 1", "must define exactly one Part, it defines 0"),
        (
            "from dataclasses import dataclass\nfrom trainables.weights import Weight\n"
            "@dataclass(frozen=True)\nclass W(Weight):\n    pass\n",
            "defines one of weights, not of datasets",
        ),
    ],
)
def test_a_bad_file_of_the_users_own_is_refused(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        made(str(path))
