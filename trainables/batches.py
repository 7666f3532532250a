"""Training batches: random crops, augmented, with all random draws of a step."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from trainables.augment import views
from trainables.crops import Crop, Regions, augmented, regions
from trainables.data import Case
from trainables.modes import Batch
from trainables.run import Run
from trainables.runtime import philox
from trainables.runtime.seeding import generator, stratified
from trainables.tiling import Window
from trainables.torch_calls import floats, ints

NoisePurpose = Literal["noise", "other noise"]


class Prepared(NamedTuple):
    """A batch whose crops its device is to augment."""

    draws: Batch
    """Without images and labels."""
    regions: Regions
    other_regions: Regions | None
    """Of the other images that a control needs."""
    size: int

    def pinned(self) -> Prepared:
        """Return the same batch in memory from which a GPU copies while the host goes on."""
        other = None if self.other_regions is None else self.other_regions.pinned()
        return self._replace(
            draws=self.draws.pinned(), regions=self.regions.pinned(), other_regions=other
        )

    def to(self, device: str) -> Batch:
        """Return the batch on a device, augmented there."""
        images, labels = self.regions.to(device).augmented(self.size)
        batch = self.draws.to(device)._replace(images_BCHW=images, labels_BHW=labels)
        if self.other_regions is None:
            return batch
        images, labels = self.other_regions.to(device).augmented(self.size)
        return batch._replace(other_images_BCHW=images, other_labels_BHW=labels)


def draw(run: Run, step: int) -> Batch:
    """Return this worker's share of the step's global batch of random crops, on the CPU.

    All draws are made for the global batch and then sliced, except noise that is made on the
    device, where it stays. They depend on the seed and the step only, so the numbers do not depend
    on the number of workers or on the arm of an ablation.
    """
    batch, crops, others = _drawn(run, step)
    augment = run.config.train.augment
    asked = {"warps": augment.warps, "colour": augment.colour > 0}
    images, labels = augmented(crops, **asked)
    batch = batch._replace(images_BCHW=images, labels_BHW=labels)
    if not others:
        return batch
    images, labels = augmented(others, **asked)
    return batch._replace(other_images_BCHW=images, other_labels_BHW=labels)


def prepared(run: Run, step: int) -> Prepared:
    """Return the batch of :func:`draw` without the work on its pixels, which its device does."""
    batch, crops, others = _drawn(run, step)
    warps = run.config.train.augment.warps
    other_regions = regions(others, warps=warps) if others else None
    return Prepared(batch, regions(crops, warps=warps), other_regions, run.data.size)


def _drawn(run: Run, step: int) -> tuple[Batch, list[Crop], list[Crop]]:
    """Return a batch without images and labels, its crops, and those of the other images."""
    config, size = run.config, run.data.size
    count, channels = config.train.batch, config.ports.mask
    draws = generator(config.seed, step, "batch")
    chosen = torch.multinomial(run.data.areas, count, replacement=True, generator=draws)
    at = torch.rand(count, 2, generator=draws)
    turns = ints(torch.randint(8, (count,), generator=draws))
    uniform, drop = stratified(count, draws), torch.rand(count, generator=draws)
    twin = torch.rand(count, generator=draws)
    seeds = torch.randint(2**62, (count,), generator=draws)
    crops = _crops(run, step, ints(chosen), at, turns)
    share = slice(run.context.rank, None, run.context.world)
    indices = range(count)[share]

    def noise(purpose: NoisePurpose) -> Tensor:
        shape = (channels, size, size)
        if config.train.noise == "device":
            number, device = get_args(NoisePurpose).index(purpose), run.context.device
            return philox.normal(config.seed, step, number, indices, shape, device)
        again = generator(config.seed, step, purpose)
        return torch.randn((count, *shape), generator=again)[share]

    batch = Batch(
        images_BCHW=torch.empty(0),
        labels_BHW=torch.empty(0),
        uniform_B=uniform[share],
        drop_B=drop[share],
        twin_B=twin[share],
        seeds_B=seeds[share],
        noise_BMHW=noise("noise"),
    )
    mine = [crops[i] for i in indices]
    if config.train.control == "none":
        return batch, mine, []
    batch = batch._replace(other_noise_BMHW=noise("other noise"))
    return batch, mine, [crops[(i + 1) % count] for i in indices]


def _crops(run: Run, step: int, chosen: list[int], at: Tensor, turns: list[int]) -> list[Crop]:
    """Return the crops of the global batch; ``at`` is each window's place in its image, [B, 2]."""
    config, size = run.config, run.data.size
    windows = [_window(run.data.train[i], uv, size) for i, uv in zip(chosen, at, strict=True)]
    located = [(run.data.train[i], window) for i, window in zip(chosen, windows, strict=True)]
    _centre_on_foreground(run, step, at, located)
    draws = generator(config.seed, step, "augment")
    seen = views(config.train.augment, turns, size, config.task.channels, draws)
    targets = _targets(run, step, [case for case, _ in located])
    return [Crop(*crop, view, y) for crop, view, y in zip(located, seen, targets, strict=True)]


def _targets(run: Run, step: int, cases: list[Case]) -> list[Tensor]:
    """Return the labels of the global batch: of drawn annotators, or else the only ones."""
    if run.config.train.annotator == "vote":
        return [case.targets for case in cases]
    draws = generator(run.config.seed, step, "annotator")
    chosen = floats(torch.rand(len(cases), generator=draws, dtype=torch.float64))
    each = [case.all_targets for case in cases]
    return [y[int(u * len(y))] for y, u in zip(each, chosen, strict=True)]


def _window(case: Case, at: Tensor, size: int) -> Window:
    """Return a window anywhere in a training image."""
    top, left = (int(u * max(1, n - size + 1)) for u, n in zip(at, case.shape, strict=True))
    return Window(top, left, size)


def _centre_on_foreground(
    run: Run, step: int, at: Tensor, located: list[tuple[Case, Window]]
) -> None:
    """Replace a share of the windows by ones around a foreground pixel, of each class as often."""
    share, size = run.config.train.foreground, run.data.size
    if share == 0 or not (points_of_class := run.data.foreground_points):
        return
    draws = generator(run.config.seed, step, "aim")
    picks = torch.rand(len(located), 3, generator=draws, dtype=torch.float64)
    for i, pick in enumerate(picks):
        chosen, of_class, of_point = floats(pick)
        if chosen >= share:
            continue
        points = points_of_class[int(of_class * len(points_of_class))]
        point = ints(points[int(of_point * len(points))])
        case = run.data.train[point[0]]
        top, left = (
            min(max(0, centre - int(u * size)), max(0, n - size))
            for centre, u, n in zip(point[1:], floats(at[i]), case.shape, strict=True)
        )
        located[i] = case, Window(top, left, size)
