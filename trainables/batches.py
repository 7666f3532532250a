"""Training batches: random crops, augmented, with all random draws of a step."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from trainables.augment import View, turned, views, warped
from trainables.data import Case
from trainables.modes import Batch
from trainables.run import Run
from trainables.runtime import philox
from trainables.runtime.seeding import generator, stratified
from trainables.tiling import Window
from trainables.torch_calls import floats, ints

NoisePurpose = Literal["noise", "other noise"]


class _Crop(NamedTuple):
    """A window of a training image, and how it is augmented."""

    case: Case
    window: Window
    view: View
    targets: Tensor
    """The labels of the image that are trained on: uint8 [h, w]."""


def draw(run: Run, step: int) -> Batch:
    """Return this worker's share of the step's global batch of random crops, on the CPU.

    All draws are made for the global batch and then sliced, except noise that is made on the
    device, where it stays. They depend on the seed and the step only, so the numbers do not depend
    on the number of workers or on the arm of an ablation.
    """
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
        *_stacked(run, [crops[i] for i in indices]),
        uniform_B=uniform[share],
        drop_B=drop[share],
        twin_B=twin[share],
        seeds_B=seeds[share],
        noise_BMHW=noise("noise"),
    )
    if config.train.control == "none":
        return batch
    images, labels = _stacked(run, [crops[(i + 1) % count] for i in indices])
    return batch._replace(
        other_images_BCHW=images,
        other_labels_BHW=labels,
        other_noise_BMHW=noise("other noise"),
    )


def _crops(run: Run, step: int, chosen: list[int], at: Tensor, turns: list[int]) -> list[_Crop]:
    """Return the crops of the global batch; ``at`` is each window's place in its image, [B, 2]."""
    config, size = run.config, run.data.size
    windows = [_window(run.data.train[i], uv, size) for i, uv in zip(chosen, at, strict=True)]
    located = [(run.data.train[i], window) for i, window in zip(chosen, windows, strict=True)]
    _centre_on_foreground(run, step, at, located)
    draws = generator(config.seed, step, "augment")
    seen = views(config.train.augment, turns, size, config.task.channels, draws)
    targets = _targets(run, step, [case for case, _ in located])
    return [_Crop(*crop, view, y) for crop, view, y in zip(located, seen, targets, strict=True)]


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


def _stacked(run: Run, crops: list[_Crop]) -> tuple[Tensor, Tensor]:
    """Return the images [B, C, H, W] and the labels [B, H, W] of crops."""
    cut = [_cut(run, crop) for crop in crops]
    return torch.stack([image for image, _ in cut]), torch.stack([labels for _, labels in cut])


def _cut(run: Run, crop: _Crop) -> tuple[Tensor, Tensor]:
    """Return the augmented image and labels of a crop."""
    augment, (case, window, view, targets) = run.config.train.augment, crop
    if augment.warps:
        image, labels = warped(case.pixels, targets, window, view)
        image = image if case.norm is None else case.norm(image)
    else:
        image, labels = case.patch(window), window.cut(targets[None])[0].byte()
    if augment.colour > 0:
        image = image * view.gain[:, None, None] + view.offset[:, None, None]
    return turned(image, view.turn), turned(labels, view.turn)
