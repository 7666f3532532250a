"""From images to what a network sees: normalised tiles, and seeded training batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables import masks
from trainables.datasets import Dataset, Image, Split
from trainables.draws import generator, stratified
from trainables.modes import Batch


@dataclass(frozen=True)
class Tiles:
    """Held-out tiles in a fixed order."""

    names: list[str]
    groups: list[str]
    images: Tensor
    """float32 [N, C, H, W], normalised."""
    labels: Tensor
    """uint8 [N, H, W]."""

    def __getitem__(self, keep: slice) -> Tiles:
        """Some of the tiles; ``tiles[rank::world]`` is a worker's share."""
        return Tiles(self.names[keep], self.groups[keep], self.images[keep], self.labels[keep])


@dataclass(frozen=True)
class Prepared:
    """A data set in memory, ready to train on."""

    train: list[tuple[Tensor, Tensor]]
    """Whole training images: float32 [C, H, W] normalised, uint8 [H, W]."""
    val: Tiles
    test: Tiles
    size: int
    classes: int

    def training_tiles(self) -> tuple[Tensor, Tensor]:
        """The training images cut into tiles: images [N, C, H, W], labels [N, H, W]."""
        cut = [t for image in self.train for t in _cut(*image, self.size)]
        return torch.stack([i for _, i, _ in cut]), torch.stack([y for _, _, y in cut])

    def batch(
        self, seed: int, step: int, count: int, flips: bool, rank: int = 0, world: int = 1
    ) -> Batch:
        """One rank's share of the step's global batch of ``count`` random crops.

        All draws are made for the global batch and then sliced, so the numbers do not depend on
        how many workers share them, nor on the arm: they depend on the seed and the step only.
        """
        draws = generator(seed, step, "batch")
        areas = torch.tensor([y.numel() for _, y in self.train], dtype=torch.float64)
        chosen = torch.multinomial(areas, count, replacement=True, generator=draws)
        place = torch.rand(count, 2, generator=draws)
        turns = torch.randint(8, (count,), generator=draws)
        crops = [
            self._crop(int(chosen[i]), place[i], int(turns[i]) if flips else 0)
            for i in range(rank, count, world)
        ]
        labels = torch.stack([y for _, y in crops])
        channels = masks.channels(self.classes)
        noise = torch.randn(count, channels, self.size, self.size, generator=draws)
        share = slice(rank, None, world)
        return Batch(
            images_BCHW=torch.stack([x for x, _ in crops]),
            masks_BMHW=masks.to_channels(labels, self.classes),
            uniform_B=stratified(count, draws)[share],
            drop_B=torch.rand(count, generator=draws)[share],
            noise_BMHW=noise[share],
        )

    def _crop(self, index: int, place: Tensor, turn: int) -> tuple[Tensor, Tensor]:
        image, labels = self.train[index]
        height, width = labels.shape
        top = int(place[0] * (height - self.size + 1))
        left = int(place[1] * (width - self.size + 1))
        window = (slice(top, top + self.size), slice(left, left + self.size))
        return _turned(image[:, *window], turn), _turned(labels[window], turn)


def prepare(dataset: Dataset) -> Prepared:
    """Normalise by the training images' channel statistics and cut the held-out tiles."""
    images = dataset.images()
    training = [i for i in images if i.split == "train"]
    pixels = np.concatenate([i.pixels.reshape(len(i.pixels), -1) for i in training], 1)
    mean, std = pixels.mean(1), pixels.std(1).clip(min=1e-6)

    def normalised(image: Image) -> tuple[Tensor, Tensor]:
        centred: NDArray[np.float32] = (image.pixels - mean[:, None, None]) / std[:, None, None]
        return torch.from_numpy(centred.astype(np.float32)), torch.from_numpy(image.labels.copy())

    def tiles(split: Split) -> Tiles:
        cut = [
            (f"{i.name}/{where}", i.group, x, y)
            for i in images
            if i.split == split
            for where, x, y in _cut(*normalised(i), dataset.size)
        ]
        names, groups, xs, ys = zip(*cut, strict=True)
        return Tiles(list(names), list(groups), torch.stack(xs), torch.stack(ys))

    return Prepared(
        train=[normalised(i) for i in training],
        val=tiles("val"),
        test=tiles("test"),
        size=dataset.size,
        classes=len(dataset.classes),
    )


def _cut(image: Tensor, labels: Tensor, size: int) -> list[tuple[str, Tensor, Tensor]]:
    """Tiles side by side, named by their top left corner; what does not fill a tile is left out."""
    height, width = labels.shape
    return [
        (
            f"{top},{left}",
            image[:, top : top + size, left : left + size],
            labels[top : top + size, left : left + size],
        )
        for top in range(0, height - size + 1, size)
        for left in range(0, width - size + 1, size)
    ]


def _turned(x: Tensor, turn: int) -> Tensor:
    """One of the eight symmetries of the square, on the last two axes."""
    x = x.rot90(turn % 4, (-2, -1))
    return x.flip(-1) if turn >= 4 else x
