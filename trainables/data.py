"""From images to what a network sees: normalised held-out cases, and seeded training batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.config import Config
from trainables.datasets import Dataset, Image, Split
from trainables.draws import generator, stratified
from trainables.modes import Batch
from trainables.part import require
from trainables.place import Place


@dataclass(frozen=True)
class Case:
    """What one row of a result is about: a held-out tile, or a held-out image at native size."""

    name: str
    group: str
    image: Tensor
    """float32 [C, H, W], normalised."""
    labels: Tensor
    """uint8 [H, W]."""
    instances: Tensor | None
    """int32 [H, W]."""


@dataclass(frozen=True)
class Prepared:
    """A data set in memory, ready to train on."""

    train: list[Case]
    val: list[Case]
    test: list[Case]
    size: int

    def training_tiles(self) -> tuple[Tensor, Tensor]:
        """The training images cut into tiles: images [N, C, H, W], labels [N, H, W]."""
        cut = tiles(self.train, self.size)
        return torch.stack([c.image for c in cut]), torch.stack([c.labels for c in cut])

    def batch(self, config: Config, step: int, place: Place) -> Batch:
        """One rank's share of the step's global batch of random crops.

        All draws are made for the global batch and then sliced, so the numbers do not depend on
        how many workers share them, nor on the arm: they depend on the seed and the step only.
        """
        count, channels = config.train.batch, config.ports.mask
        draws = generator(config.seed, step, "batch")
        areas = torch.tensor([c.labels.numel() for c in self.train], dtype=torch.float64)
        chosen = torch.multinomial(areas, count, replacement=True, generator=draws).tolist()
        at = torch.rand(count, 2, generator=draws)
        turns = torch.randint(8, (count,), generator=draws).tolist()
        uniform, drop = stratified(count, draws), torch.rand(count, generator=draws)
        twin = torch.rand(count, generator=draws)
        seeds = torch.randint(2**62, (count,), generator=draws)
        mine = range(place.rank, count, place.world)

        def crops(cases: list[int]) -> tuple[Tensor, Tensor]:
            cut = [
                self._crop(chosen[i], at[i], turns[i] if config.train.flips else 0) for i in cases
            ]
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

    def _crop(self, index: int, at: Tensor, turn: int) -> tuple[Tensor, Tensor]:
        case = self.train[index]
        height, width = case.labels.shape
        top = int(at[0] * (height - self.size + 1))
        left = int(at[1] * (width - self.size + 1))
        window = (slice(top, top + self.size), slice(left, left + self.size))
        return _turned(case.image[:, *window], turn), _turned(case.labels[window], turn)


def prepare(dataset: Dataset, unit: str) -> Prepared:
    """Normalise by the training images' channel statistics; held-out cases are tiles or images."""
    images = dataset.images()
    training = [i for i in images if i.split == "train"]
    pixels = np.concatenate([i.pixels.reshape(len(i.pixels), -1) for i in training], 1)
    mean, std = pixels.mean(1), pixels.std(1).clip(min=1e-6)

    def whole(image: Image) -> Case:
        centred: NDArray[np.float32] = (image.pixels - mean[:, None, None]) / std[:, None, None]
        return Case(
            image.name,
            image.group,
            torch.from_numpy(centred.astype(np.float32)),
            torch.from_numpy(image.labels.copy()),
            None if image.instances is None else torch.from_numpy(image.instances.copy()),
        )

    def split(name: Split) -> list[Case]:
        return [whole(i) for i in images if i.split == name]

    def held_out(name: Split) -> list[Case]:
        return tiles(split(name), dataset.size) if unit == "tiles" else split(name)

    made = Prepared(split("train"), held_out("val"), held_out("test"), dataset.size)
    for case in made.train:
        require(
            min(case.labels.shape) >= dataset.size,
            f"{dataset.name}: {case.name} is {tuple(case.labels.shape)}, training images must be"
            f" at least size={dataset.size}",
        )
    for name, cases in (("val", made.val), ("test", made.test)):
        require(
            len(cases) > 0, f"{dataset.name}: split {name} has no whole tile of size={dataset.size}"
        )
    return made


def tiles(cases: list[Case], size: int) -> list[Case]:
    """Cases cut in tiles side by side, named by their top left corner; a remainder is left out."""
    return [tile for case in cases for tile in _cut(case, size)]


def _cut(case: Case, size: int) -> Iterator[Case]:
    height, width = case.labels.shape
    for top in range(0, height - size + 1, size):
        for left in range(0, width - size + 1, size):
            window = (slice(top, top + size), slice(left, left + size))
            yield Case(
                name=f"{case.name}/{top},{left}",
                group=case.group,
                image=case.image[:, *window],
                labels=case.labels[window],
                instances=None if case.instances is None else case.instances[window],
            )


def _turned(x: Tensor, turn: int) -> Tensor:
    """One of the eight symmetries of the square, on the last two axes."""
    x = x.rot90(turn % 4, (-2, -1))
    return x.flip(-1) if turn >= 4 else x
