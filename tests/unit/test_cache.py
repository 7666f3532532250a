"""Decoded images: what was read, once per machine, complete or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests import trees
from tests.conftest import ROOT
from trainables.config import Config
from trainables.datasets import SPLITS, Dataset, Source
from trainables.decoding.cache import forget, load
from trainables.decoding.loaded import Loaded
from trainables.parsing import parse_part

MINE = '''
import dataclasses
import functools
from pathlib import Path

from trainables.datasets.folder import Folder

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Mine(Folder):
    """A folder that logs when it is scanned, and stops at its last image while there is a gate."""

    def scan(self):
        with (HERE / "scans").open("a") as log:
            log.write("scanned\\n")
        for source in super().scan():
            yield dataclasses.replace(source, read=functools.partial(read, source))


def read(source):
    if source.name == "病变" and (HERE / "gate").exists():
        (HERE / "gate").read_bytes()
    return source.read()
'''
LOADER = """
import sys
from trainables.parsing import parse_part
from trainables.decoding.cache import load

dataset = parse_part("datasets", {sys.argv[1]: {"at": sys.argv[2]}})
print("ready", flush=True)
print(load(dataset).content_hash)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The machine's cache, empty."""
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEGPRINT_CACHE_GB", raising=False)
    forget()
    yield tmp_path / "cache"
    forget()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trees.folder(tmp_path / "tree")
    return tmp_path / "tree"


def made(name: str, at: Path, **fields: object) -> Dataset:
    return cast("Dataset", parse_part("datasets", {name: {"at": str(at), **fields}}))


def reopened(dataset: Dataset) -> Loaded:
    """As another process finds it."""
    load(dataset)
    forget()
    return load(dataset)


def used(folder: Path) -> int:
    return sum(p.stat().st_size for p in trees.each(folder))


def sources(dataset: Dataset, split: str | None = None) -> list[Source]:
    found = [s for s in dataset.scan() if isinstance(s, Source)]
    return [s for s in found if split in (None, s.split)]


@pytest.mark.parametrize("name", trees.WRITERS)
def test_what_is_kept_is_what_was_read(name: str, tmp_path: Path) -> None:
    if name == "torch_em":
        pytest.importorskip("torch_em")
    trees.WRITERS[name](tmp_path / "tree")
    dataset = made(name, tmp_path / "tree")
    for image, source in zip(reopened(dataset).images, sources(dataset), strict=True):
        about = (image.name, image.group, image.split)
        assert about == (source.name, source.group, source.split)
        kept: tuple[Any, ...] = (image.pixels, image.labels, image.instances)
        for mine, theirs in zip(kept, source.read()[:3], strict=True):
            np.testing.assert_array_equal(mine, theirs, strict=theirs is not None)


def test_a_changed_mask_changes_the_hash(folder: Path) -> None:
    before = load(made("folder", folder)).content_hash
    mask = folder / "masks" / "case9.png"
    mask.write_bytes(trees.png(np.full((48, 56), 255, np.uint8)))
    forget()
    assert load(made("folder", folder)).content_hash != before


@pytest.mark.parametrize("replaced", [False, True])
def test_a_change_that_keeps_size_and_time_of_modification_is_noticed(
    folder: Path, replaced: bool
) -> None:
    noise = [np.random.default_rng(i).integers(0, 256, (48, 56, 3), np.uint8) for i in range(2)]
    old, new = (trees.png(values) for values in noise)
    assert (old == new, len(old) == len(new)) == (False, True)
    image = folder / "images" / "case7.png"
    image.write_bytes(old)
    before, status = load(made("folder", folder)).content_hash, image.stat()
    target = folder / "other" if replaced else image
    target.write_bytes(new)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(target, image)
    assert (image.stat().st_size, image.stat().st_mtime_ns) == (len(old), status.st_mtime_ns)
    forget()
    assert load(made("folder", folder)).content_hash != before


def test_the_same_files_elsewhere_are_the_same_data(
    folder: Path, tmp_path: Path, small: Callable[..., Config]
) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere")
    places = (folder, tmp_path / "elsewhere")
    configs = [small(task={"folder": {"at": str(p), "size": 16}}) for p in places]
    assert len({c.task.where for c in configs}) == 2
    assert len({load(c.task).content_hash for c in configs}) == 1
    assert len({c.digest() for c in configs}) == 1


class Slow:
    """A data set of the user's own, and processes that stop in the middle of decoding it."""

    def __init__(self, root: Path) -> None:
        self.file, self.gate, self.folder = root / "mine.py", root / "gate", root / "slow"
        self.file.write_text(MINE)
        trees.folder(self.folder, cases=2 * (os.cpu_count() or 1) + 6)  # more than decoded ahead
        os.mkfifo(self.gate)
        self.processes: list[subprocess.Popen[str]] = []

    @property
    def dataset(self) -> Dataset:
        return made(str(self.file), self.folder)

    @property
    def scans(self) -> int:
        return len((self.file.parent / "scans").read_text().splitlines())

    def loading(self, count: int = 1) -> list[subprocess.Popen[str]]:
        """Processes that are about to load the data set."""
        started = [
            subprocess.Popen(
                [sys.executable, "-c", LOADER, str(self.file), str(self.folder)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        self.processes += started
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        return started

    def killed_while_decoding(self) -> None:
        (process,) = self.loading()
        with process, self.gate.open("w"):  # opens once it is being read
            process.kill()
        self.gate.unlink()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    made = Slow(tmp_path)
    yield made
    for process in made.processes:
        with process:
            process.kill()


def test_processes_that_load_at_once_decode_once(slow: Slow) -> None:
    first = slow.loading()
    with slow.gate.open("w"):
        others = slow.loading(2)
        slow.gate.unlink()
    told = [p.communicate()[0].strip() for p in (*first, *others)]
    assert slow.scans == 1
    assert told == [load(slow.dataset).content_hash] * 3
    assert slow.scans == 1


def test_what_a_killed_process_left_is_not_taken_for_complete_and_does_not_stay(
    slow: Slow, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.killed_while_decoding()
    found = reopened(slow.dataset)
    assert slow.scans == 2
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "fresh"))
    forget()
    expected = load(slow.dataset)
    assert found.content_hash == expected.content_hash
    assert len(found.images) == len(expected.images)
    assert used(cache) == used(tmp_path / "fresh")


def test_a_set_whose_removal_was_cut_short_is_decoded_anew(folder: Path, cache: Path) -> None:
    expected = load(made("folder", folder)).content_hash
    largest = max(trees.each(cache), key=lambda p: p.stat().st_size)
    largest.unlink()
    found = reopened(made("folder", folder))
    assert found.content_hash == expected
    assert np.isfinite(found.images[0].pixels).all()


def test_the_least_recently_used_set_is_dropped_and_can_still_be_read(
    folder: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [folder, tmp_path / "second", tmp_path / "third"]
    for place in places[1:]:
        shutil.copytree(folder, place)
    first, second, third = (made("folder", p) for p in places)
    kept: list[Path] = []

    def loaded(dataset: Dataset) -> Loaded:
        found = load(dataset)
        kept.extend(p for p in (cache / "decoded").iterdir() if p.is_dir() and p not in kept)
        return found

    loaded(first)
    monkeypatch.setenv("SEGPRINT_CACHE_GB", str(2.5 * used(cache) / 2**30))
    mapped = loaded(second)
    for age, place in ((2, kept[0]), (1, kept[1])):
        os.utime(place, (1e9 - age, 1e9 - age))
    forget()
    loaded(first)
    loaded(third)
    assert [p.exists() for p in kept] == [True, False, True]
    for image, source in zip(mapped.images, sources(second), strict=True):
        np.testing.assert_array_equal(image.pixels, source.read().pixels)
    assert load(second).content_hash == mapped.content_hash


def test_a_set_larger_than_the_bound_is_refused(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGPRINT_CACHE_GB", "1e-6")
    with pytest.raises(OSError, match="raise SEGPRINT_CACHE_GB"):
        load(made("folder", folder))
    assert used(cache) == 0


@pytest.mark.parametrize("given", ["abc", "0", "-1", "nan", "inf"])
def test_a_bound_must_be_a_positive_number(
    folder: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("SEGPRINT_CACHE_GB", given)
    with pytest.raises(ValueError, match=f"SEGPRINT_CACHE_GB='{given}' must be a positive number"):
        load(made("folder", folder))


def test_statistics_are_those_of_the_training_images(folder: Path) -> None:
    dataset = made("folder", folder)
    train = [s.read().pixels.reshape(3, -1) for s in sources(dataset, "train")]
    values = np.concatenate(train, 1).astype(np.float64)
    found = reopened(dataset)
    np.testing.assert_allclose(found.mean, values.mean(1), rtol=1e-12)
    np.testing.assert_allclose(found.std, values.std(1), rtol=1e-12)


def test_reduced_images_keep_their_labels_and_their_hash(folder: Path) -> None:
    whole, small = load(made("folder", folder)), reopened(made("folder", folder, longest=28))
    assert small.content_hash == whole.content_hash
    assert small.pixels == whole.pixels
    for image, native in zip(small.images, whole.images, strict=True):
        assert image.pixels.shape == (3, 24, 28)
        assert image.targets.shape == (24, 28)
        assert image.pixels.dtype == native.pixels.dtype
        np.testing.assert_array_equal(image.labels, native.labels)


@pytest.mark.parametrize("longest", [0, 32])
def test_classes_are_counted_and_points_lie_on_them(tmp_path: Path, longest: int) -> None:
    trees.her2(tmp_path / "tree", classes=3)
    dataset = made("her2", tmp_path / "tree", foreground=["a", "b"], longest=longest)
    found = reopened(dataset)
    for split in SPLITS:
        labels = np.concatenate([s.read().labels.ravel() for s in sources(dataset, split)])
        assert found.pixels[split] == np.bincount(labels, minlength=3).tolist()
    for image in found.images:
        label, row, column = image.points.T
        np.testing.assert_array_equal(image.targets[row, column], label)
        assert set(label.tolist()) == set(np.unique(image.targets).tolist()) - {0}
