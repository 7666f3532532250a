"""Prepared data: normalised training images, and held-out images, slices of volumes, or tiles."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from trainables import controls, masks
from trainables.config import Config
from trainables.datasets import SPLITS, Dataset, Split
from trainables.decoding.cache import load
from trainables.decoding.loaded import Image
from trainables.runtime.seeding import generator
from trainables.settings import Evaluation
from trainables.tiling import Window
from trainables.torch_calls import distinct, from_array

FIT_PIXELS = 2**26
"""The largest number of training pixels for models that are fitted in closed form."""


@dataclass(frozen=True)
class Norm:
    """Channel statistics of the training images."""

    mean: Tensor
    """float32 [C, 1, 1]."""
    std: Tensor

    def __call__(self, pixels_CHW: Tensor) -> Tensor:
        """Scale to zero mean and unit deviation over the training images."""
        return (pixels_CHW.float() - self.mean) / self.std


@dataclass(frozen=True)
class Case:
    """An image, a slice of a volume, or a tile of an image."""

    name: str
    group: str
    pixels: Tensor
    """[C, h, w] with the stored values; memory-mapped, so that only the parts in use are read."""
    labels: Tensor
    """uint8 [H, W], 0..K−1 or :data:`~trainables.labels.IGNORE`."""
    instances: Tensor | None
    """int32 [H, W]."""
    norm: Norm | None = None
    """None: the pixels are normalised already."""
    reduced: Tensor | None = None
    """uint8 [h, w], the labels at the size of reduced pixels; None for pixels at native size."""
    points: Tensor | None = None
    """int32 [N, 3], (class, row, column) of some foreground pixels."""
    complete: bool = True
    """Whether the data set has no pixel that is to be ignored."""
    volume: str = ""
    """The volume that the image is a slice of and is measured with; empty: it is a case alone."""
    spacing: tuple[float, ...] | None = None
    """Millimetres between slices, rows and columns, where they are known."""
    annotations: Tensor | None = None
    """uint8 [A, H, W], the labels of each of several annotators; ``labels`` are their vote."""
    reduced_annotations: Tensor | None = None
    """uint8 [A, h, w], as ``reduced``."""
    annotators: tuple[str, ...] = ()
    """The names of the annotators; none where there is one annotator."""

    @property
    def whole(self) -> str:
        """The name of the held-out case that it is a part of."""
        return self.volume or self.name

    @property
    def image(self) -> Tensor:
        """float32 [C, h, w], normalised."""
        return self.pixels.float() if self.norm is None else self.norm(self.pixels)

    @property
    def targets(self) -> Tensor:
        """The labels at the size of the pixels: uint8 [h, w]."""
        return self.labels if self.reduced is None else self.reduced

    @property
    def all_annotations(self) -> Tensor:
        """The labels of all annotators at native size: uint8 [A, H, W]."""
        return self.labels[None] if self.annotations is None else self.annotations

    @property
    def all_targets(self) -> Tensor:
        """The labels of all annotators at the size of the pixels: uint8 [A, h, w]."""
        if self.annotations is None:
            return self.targets[None]
        return self.annotations if self.reduced_annotations is None else self.reduced_annotations

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the pixels."""
        return (self.pixels.shape[1], self.pixels.shape[2])

    @property
    def counts(self) -> bool:
        """Whether any pixel counts, in the loss or in a metric."""
        return self.complete or bool(masks.counted(self.labels).any())

    def patch(self, window: Window) -> Tensor:
        """Return the input of a network: float32 [C, size, size], normalised."""
        cut = window.cut(self.pixels)
        return cut if self.norm is None else self.norm(cut)


@dataclass(frozen=True)
class Prepared:
    """The splits of a data set, ready for training and evaluation."""

    train: list[Case]
    val: list[Case]
    test: list[Case]
    size: int

    def cases(self, split: Split) -> list[Case]:
        """Return the cases of a split."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]

    def training_tiles(self) -> tuple[Tensor, Tensor]:
        """Return the training images cut into tiles: images [N, C, H, W], labels [N, H, W].

        Tiles are left out at even intervals where all have more than :data:`FIT_PIXELS`. An image
        smaller than a tile is extended by repeating its edge pixels.
        """
        cut = tiles(self.train, self.size)
        every = -(-len(cut) * self.size**2 // FIT_PIXELS)
        cut = cut[::every]
        return torch.stack([c.image for c in cut]), torch.stack([c.targets for c in cut])

    @cached_property
    def areas(self) -> Tensor:
        """The pixels of each training image: float64 [N]."""
        return torch.tensor([c.targets.numel() for c in self.train], dtype=torch.float64)

    @cached_property
    def foreground_points(self) -> list[Tensor]:
        """Some pixels of each foreground class as (case, row, column): int32 [N, 3] each."""
        tables = [
            torch.cat([torch.full((len(c.points), 1), i, dtype=torch.int32), c.points], 1)
            for i, c in enumerate(self.train)
            if c.points is not None
        ]
        table = torch.cat(tables)
        classes = distinct(table[:, 1])
        return [table[table[:, 1] == k][:, [0, 2, 3]] for k in classes]


def prepared(config: Config) -> Prepared:
    """Return the data of a config, with its share ``train.fraction`` of the training images.

    The rank of an image depends on the seed and its name only, so shares are nested.
    """
    data = prepare(config.task, config.test.unit)
    if config.test.on is not None:
        data = dataclasses.replace(data, test=test_cases(config.task, config.test))
    keep = math.ceil(config.train.fraction * len(data.train) - 1e-9)
    given = config.train.fraction_seed
    seed = config.seed if given is None else given
    ranks = {c.name: generator(seed, c.name, "fraction").initial_seed() for c in data.train}
    chosen = set(sorted(ranks, key=lambda name: ranks[name])[:keep])
    return dataclasses.replace(data, train=[c for c in data.train if c.name in chosen])


def prepare(dataset: Dataset, unit: str) -> Prepared:
    """Return a data set, normalised by the training images.

    ``unit`` is that of the held-out cases (:attr:`trainables.settings.Evaluation.unit`).
    """
    norm = _norm(dataset)
    return Prepared(
        _images(dataset, norm, ("train",)),
        _held_out(dataset, norm, unit, ("val",)),
        _held_out(dataset, norm, unit, ("test",)),
        dataset.size,
    )


def test_cases(task: Dataset, test: Evaluation) -> list[Case]:
    """Return the cases that are tested, normalised by the training images of the task.

    They are the task's test split, or the cases of an external test (``test.on``).
    """
    if test.on is None:
        return _held_out(task, _norm(task), test.unit, ("test",))
    splits = SPLITS if test.cases == "all" else ("test",)
    return _held_out(test.on, _norm(task), test.unit, splits)


def _norm(dataset: Dataset) -> Norm:
    loaded = load(dataset)
    return Norm(*(from_array(v).float()[:, None, None] for v in (loaded.mean, loaded.std)))


def _images(dataset: Dataset, norm: Norm, splits: Sequence[Split]) -> list[Case]:
    with warnings.catch_warnings():
        # The mapped cache is read only; nothing here writes in context.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        complete = not dataset.ignores
        return [_case(i, norm, complete) for i in load(dataset).images if i.split in splits]


def _held_out(dataset: Dataset, norm: Norm, unit: str, splits: Sequence[Split]) -> list[Case]:
    cases = _images(dataset, norm, splits)
    if unit == "tiles":
        return tiles(cases, dataset.size)
    if unit == "images":
        cases = [dataclasses.replace(case, volume="") for case in cases]
    counting = {case.whole for case in cases if case.counts}
    return [case for case in cases if case.whole in counting]


def _case(image: Image, norm: Norm, complete: bool) -> Case:
    return Case(
        image.name,
        image.group,
        from_array(image.pixels),
        from_array(image.labels),
        None if image.instances is None else from_array(image.instances),
        norm,
        None if image.targets is image.labels else from_array(image.targets),
        from_array(image.points),
        complete,
        image.volume,
        image.spacing,
        None if image.annotations is None else from_array(image.annotations),
        None if image.annotation_targets is None else from_array(image.annotation_targets),
        image.annotators,
    )


def wholes(cases: Iterable[Case]) -> list[str]:
    """Return the names of the held-out cases that some images and slices make up, in order."""
    return list(dict.fromkeys(case.whole for case in cases))


def partners(cases: Sequence[Case]) -> list[int]:
    """Return the place of each image's partner under a control that shuffles images.

    A slice of a volume has the slice at the same relative place of another volume.

    Raises:
        ValueError: there is only one held-out case.
    """
    by_whole: dict[str, list[int]] = {}
    for i, case in enumerate(cases):
        by_whole.setdefault(case.whole, []).append(i)
    places, found = list(by_whole.values()), [0] * len(cases)
    for k, own in enumerate(places):
        other = places[controls.partner(k, len(places))]
        for place, i in enumerate(own):
            found[i] = other[place * len(other) // len(own)]
    return found


def tiles(cases: list[Case], size: int) -> list[Case]:
    """Cut cases into tiles side by side, named by their top left corner; a remainder is left out.

    So are tiles in which no pixel counts. An image smaller than a tile gives one tile, extended by
    repeating its edge pixels.
    """
    return [tile for case in cases for tile in _cut(case, size) if tile.counts]


def _cut(case: Case, size: int) -> Iterator[Case]:
    height, width = case.shape
    # Instances are known at native size only: tiles of a reduced image have none.
    instances = case.instances if case.reduced is None else None
    for top in range(0, max(height - size, 0) + 1, size):
        for left in range(0, max(width - size, 0) + 1, size):
            window = Window(top, left, size)
            yield Case(
                name=f"{case.name}/{top},{left}",
                group=case.group,
                pixels=_part(case.pixels, window),
                labels=_part(case.targets[None], window)[0],
                instances=None if instances is None else _part(instances[None], window)[0],
                norm=case.norm,
                complete=case.complete,
                spacing=case.spacing if case.reduced is None else None,
                annotations=_part(case.all_targets, window) if case.annotators else None,
                annotators=case.annotators,
            )


def _part(x_CHW: Tensor, window: Window) -> Tensor:
    """Return the pixels of a window in their type; a view where the window lies inside."""
    if min(x_CHW.shape[1:]) < window.size:
        return window.cut(x_CHW).to(x_CHW.dtype)
    rows = slice(window.top, window.top + window.size)
    return x_CHW[:, rows, window.left : window.left + window.size]
