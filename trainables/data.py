"""From images to what a network sees: normalised held-out cases, and seeded training batches."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from trainables.augment import View, turned, views, warped
from trainables.config import Config
from trainables.datasets import Dataset, Split
from trainables.decoding.cache import load
from trainables.decoding.loaded import Image
from trainables.modes import Batch
from trainables.runtime.seeding import generator, stratified
from trainables.runtime.worker_context import WorkerContext
from trainables.tiling import Window

FIT_PIXELS = 2**26
"""Of training tiles, for models that are fitted at once."""


@dataclass(frozen=True)
class Norm:
    """The training images' statistics."""

    mean: Tensor
    """float32 [C, 1, 1]."""
    std: Tensor

    def __call__(self, pixels_CHW: Tensor) -> Tensor:
        """Zero mean and unit deviation over the training images."""
        return (pixels_CHW.float() - self.mean) / self.std


@dataclass(frozen=True)
class Case:
    """What one row of a result is about: a held-out tile, or a held-out image at native size."""

    name: str
    group: str
    pixels: Tensor
    """[C, h, w] as they were stored; memory-mapped, so that only what is looked at is read."""
    labels: Tensor
    """uint8 [H, W]."""
    instances: Tensor | None
    """int32 [H, W]."""
    norm: Norm | None = None
    """None: the pixels are normalised."""
    reduced: Tensor | None = None
    """uint8 [h, w], the labels where the pixels are a reduction; None where they are not."""
    points: Tensor | None = None
    """int32 [N, 3] (class, row, column) of some foreground pixels."""

    @property
    def image(self) -> Tensor:
        """float32 [C, h, w], normalised."""
        return self.pixels.float() if self.norm is None else self.norm(self.pixels)

    @property
    def targets(self) -> Tensor:
        """The labels at the size of the pixels: uint8 [h, w]."""
        return self.labels if self.reduced is None else self.reduced

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the pixels."""
        return (self.pixels.shape[1], self.pixels.shape[2])

    def patch(self, window: Window) -> Tensor:
        """What a network is shown: float32 [C, size, size], normalised."""
        cut = window.cut(self.pixels)
        return cut if self.norm is None else self.norm(cut)


@dataclass(frozen=True)
class Prepared:
    """A data set that was read, ready to train on."""

    train: list[Case]
    val: list[Case]
    test: list[Case]
    size: int

    def training_tiles(self) -> tuple[Tensor, Tensor]:
        """The training images cut into tiles: images [N, C, H, W], labels [N, H, W].

        Evenly spaced ones, where all of them are more than :data:`FIT_PIXELS`; images smaller than
        a tile are continued at their edges.
        """
        cut = tiles(self.train, self.size)
        every = -(-len(cut) * self.size**2 // FIT_PIXELS)
        cut = cut[::every]
        return torch.stack([c.image for c in cut]), torch.stack([c.targets for c in cut])

    def batch(self, config: Config, step: int, context: WorkerContext) -> Batch:
        """One rank's share of the step's global batch of random crops.

        All draws are made for the global batch and then sliced, so the numbers do not depend on
        how many workers share them, nor on the arm: they depend on the seed and the step only.
        """
        count, channels = config.train.batch, config.ports.mask
        draws = generator(config.seed, step, "batch")
        chosen = torch.multinomial(self._areas, count, replacement=True, generator=draws).tolist()
        at = torch.rand(count, 2, generator=draws)
        turns = torch.randint(8, (count,), generator=draws).tolist()
        uniform, drop = stratified(count, draws), torch.rand(count, generator=draws)
        twin = torch.rand(count, generator=draws)
        seeds = torch.randint(2**62, (count,), generator=draws)
        mine = range(context.rank, count, context.world)
        places = [self._window(i, where) for i, where in zip(chosen, at, strict=True)]
        self._aim(config, step, at, places)
        seen = views(
            config.train.augment,
            turns,
            self.size,
            config.task.channels,
            generator(config.seed, step, "augment"),
        )

        def crops(cases: list[int]) -> tuple[Tensor, Tensor]:
            cut = [self._crop(config, *places[i], seen[i]) for i in cases]
            return torch.stack([x for x, _ in cut]), torch.stack([y for _, y in cut])

        def noise(word: str) -> Tensor:
            again = generator(config.seed, step, word)
            shape = (count, channels, self.size, self.size)
            return torch.randn(shape, generator=again)[mine.start :: mine.step]

        share = slice(mine.start, None, mine.step)
        batch = Batch(
            *crops(list(mine)),
            uniform_B=uniform[share],
            drop_B=drop[share],
            twin_B=twin[share],
            seeds_B=seeds[share],
            noise_BMHW=noise("noise"),
        )
        if config.train.control == "none":
            return batch
        images, labels = crops([(i + 1) % count for i in mine])
        return batch._replace(
            other_images_BCHW=images,
            other_labels_BHW=labels,
            other_noise_BMHW=noise("other noise"),
        )

    @cached_property
    def _areas(self) -> Tensor:
        return torch.tensor([c.targets.numel() for c in self.train], dtype=torch.float64)

    def _window(self, index: int, at: Tensor) -> tuple[Case, Window]:
        """A window anywhere in a training image."""
        case = self.train[index]
        top, left = (
            int(u * max(1, n - self.size + 1)) for u, n in zip(at, case.shape, strict=True)
        )
        return case, Window(top, left, self.size)

    def _aim(
        self, config: Config, step: int, at: Tensor, places: list[tuple[Case, Window]]
    ) -> None:
        """Replace a share of the windows by ones around foreground, of every class as often."""
        if config.train.foreground == 0 or not self._points:
            return
        draws = generator(config.seed, step, "aim")
        picks = torch.rand(len(places), 3, generator=draws, dtype=torch.float64)
        for i, (aimed, of_class, of_point) in enumerate(picks.tolist()):
            if aimed >= config.train.foreground:
                continue
            points = self._points[int(of_class * len(self._points))]
            index, *centre = points[int(of_point * len(points))].tolist()
            case = self.train[index]
            top, left = (
                min(max(0, c - int(u * self.size)), max(0, n - self.size))
                for c, u, n in zip(centre, at[i].tolist(), case.shape, strict=True)
            )
            places[i] = case, Window(top, left, self.size)

    @cached_property
    def _points(self) -> list[Tensor]:
        """For each foreground class (case, row, column) of some of its pixels: [N, 3] each."""
        found = [
            torch.cat([torch.full((len(c.points), 1), i, dtype=torch.int32), c.points], 1)
            for i, c in enumerate(self.train)
            if c.points is not None
        ]
        table = torch.cat(found)
        return [table[table[:, 1] == k][:, [0, 2, 3]] for k in table[:, 1].unique().tolist()]

    def _crop(
        self, config: Config, case: Case, window: Window, view: View
    ) -> tuple[Tensor, Tensor]:
        augment = config.train.augment
        if augment.warps:
            image, labels = warped(case.pixels, case.targets, window, view)
            image = image if case.norm is None else case.norm(image)
        else:
            image, labels = case.patch(window), window.cut(case.targets[None])[0].byte()
        if augment.colour > 0:
            image = image * view.gain[:, None, None] + view.offset[:, None, None]
        return turned(image, view.turn), turned(labels, view.turn)


def prepared(config: Config) -> Prepared:
    """What a config trains on and is tested on: its share of the training images, in their order.

    An image's rank among them depends on the seed and its name only, so shares are nested.
    """
    data = prepare(config.task, config.test.unit)
    keep = math.ceil(config.train.fraction * len(data.train) - 1e-9)
    ranks = {c.name: generator(config.seed, c.name, "fraction").initial_seed() for c in data.train}
    chosen = set(sorted(ranks, key=lambda name: ranks[name])[:keep])
    return dataclasses.replace(data, train=[c for c in data.train if c.name in chosen])


def prepare(dataset: Dataset, unit: str) -> Prepared:
    """Normalise by the training images' channel statistics; held-out cases are tiles or images."""
    loaded = load(dataset)
    norm = Norm(*(torch.from_numpy(v).float()[:, None, None] for v in (loaded.mean, loaded.std)))

    def split(name: Split) -> list[Case]:
        return [_case(i, norm) for i in loaded.images if i.split == name]

    def held_out(name: Split) -> list[Case]:
        return tiles(split(name), dataset.size) if unit == "tiles" else split(name)

    with warnings.catch_warnings():
        # The mapped cache is read only; nothing here writes in context.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return Prepared(split("train"), held_out("val"), held_out("test"), dataset.size)


def _case(image: Image, norm: Norm) -> Case:
    return Case(
        image.name,
        image.group,
        torch.from_numpy(image.pixels),
        torch.from_numpy(image.labels),
        None if image.instances is None else torch.from_numpy(image.instances),
        norm,
        None if image.targets is image.labels else torch.from_numpy(image.targets),
        torch.from_numpy(image.points),
    )


def tiles(cases: list[Case], size: int) -> list[Case]:
    """Cases cut in tiles side by side, named by their top left corner; a remainder is left out.

    An image smaller than a tile is one, continued at its edges.
    """
    return [tile for case in cases for tile in _cut(case, size)]


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
            )


def _part(x_CHW: Tensor, window: Window) -> Tensor:
    """What a window shows, in the same type; a view where it lies inside."""
    if min(x_CHW.shape[1:]) < window.size:
        return window.cut(x_CHW).to(x_CHW.dtype)
    rows = slice(window.top, window.top + window.size)
    return x_CHW[:, rows, window.left : window.left + window.size]
