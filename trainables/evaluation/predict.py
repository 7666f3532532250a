"""Predictions of held-out cases at native size, by batches of overlapping patches."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables import controls
from trainables.config import Config
from trainables.controls import Control
from trainables.data import Case, partners, test_cases, wholes
from trainables.datasets import Dataset
from trainables.evaluation.captured import CapturedSampling, capturable
from trainables.evaluation.compiled import compiled
from trainables.evaluation.pass_size import PassSize
from trainables.models import ImagePredictor, Network
from trainables.modes import Prediction
from trainables.run import Run
from trainables.runtime.seeding import generator
from trainables.schemas import DivergedError
from trainables.settings import Evaluation
from trainables.tiling import Window, blended, sized, windows

Predict = Callable[[Tensor, Sequence[int]], Prediction]
"""From a batch of images and the seed of each to their prediction."""

PIXELS_AT_ONCE = 64 * 64**2
"""Pixels of all patches and members in one pass."""


@contextlib.contextmanager
def inference(run: Run, network: Network) -> Generator[None]:
    """Evaluation mode without gradients, in the precision that the network was trained in."""
    run.context.beat()
    network.eval()
    with torch.no_grad(), autocast(run):
        yield


def autocast(run: Run) -> contextlib.AbstractContextManager[Any]:
    """Return the context manager for the config's precision on the worker's device."""
    if run.config.train.precision != "bfloat16":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(run.context.device).type, torch.bfloat16)


def patches_at_once(config: Config) -> int:
    """Return how many patches, with all their members, share a pass."""
    return max(1, PIXELS_AT_ONCE // (config.task.size**2 * config.mode.ensemble))


def patches(config: Config, cases: Sequence[Case]) -> int:
    """Return the number of patches of some cases."""
    return sum(len(windows(*case.shape, config.task.size, config.test.overlap)) for case in cases)


def passes_per_image(config: Config) -> int:
    """Return the network passes per test case: those per patch times the mean number of patches.

    The number is known before training: it depends on the sizes of the cases, not on a network.
    """
    passes = config.mode.passes * config.model.views
    return round(passes * _patches_per_case(config.task, config.test))


@functools.lru_cache(maxsize=64)
def _patches_per_case(task: Dataset, test: Evaluation) -> float:
    cases = test_cases(task, test)
    counts = (len(windows(*case.shape, task.size, test.overlap)) for case in cases)
    return sum(counts) / len(wholes(cases))


class _Tiled(NamedTuple):
    """The index of a case and the windows that cover it."""

    case: int
    windows: list[Window]


def predictions(
    run: Run,
    network: Network,
    cases: Sequence[Case],
    indices: Sequence[int],
    control: Control = "none",
) -> Iterator[tuple[Case, Prediction]]:
    """Yield the cases at ``indices``, each with its prediction [1, ...] at native size on the CPU.

    Patches of several small cases share a pass, fewer after one that exhausted the memory; those
    of a large case are blended. Probabilities of a reduced image are interpolated to the size of
    its mask.
    """
    if isinstance(network, ImagePredictor):
        yield from _whole_images(run, network, [cases[i] for i in indices])
        return
    config, predict = run.config, _predictor(run, compiled(run, network), control)
    covers = [windows(*cases[i].shape, config.task.size, config.test.overlap) for i in indices]
    size = PassSize(patches_at_once(config), sum(map(len, covers)), run.context)
    waiting: list[_Tiled] = []
    for i, cover in zip(indices, covers, strict=True):
        waiting.append(_Tiled(i, cover))
        if sum(len(tiled.windows) for tiled in waiting) >= size.count:
            yield from _blended(run, predict, cases, waiting, control, size)
            waiting = []
    yield from _blended(run, predict, cases, waiting, control, size)


def _predictor(run: Run, network: Network, control: Control) -> Predict:
    """Return the prediction of a batch; samples on a GPU are replayed from a captured graph."""
    mode, classes = run.config.mode, run.config.classes
    captured: Predict | None = None
    if capturable(mode, run.context.device):
        captured = CapturedSampling(mode, network, classes, control)

    def predict(images_BCHW: Tensor, seeds: Sequence[int]) -> Prediction:
        with inference(run, network):
            if captured is not None:
                return captured(images_BCHW, seeds)
            return mode.predict(network, images_BCHW, classes, seeds, control)

    return predict


def _blended(
    run: Run,
    predict: Predict,
    cases: Sequence[Case],
    waiting: list[_Tiled],
    control: Control,
    size: PassSize,
) -> Iterator[tuple[Case, Prediction]]:
    """Predict the patches of some cases and yield each case with the blend of its patches."""
    shown = [(tiled.case, window) for tiled in waiting for window in tiled.windows]
    predicted = _patches(run, predict, cases, shown, control, size)
    for index, cover in waiting:
        case, parts = cases[index], [next(predicted) for _ in cover]
        sides = [p.auxiliary for p in parts if p.auxiliary is not None]
        members = _native([p.members for p in parts], cover, case)
        yield case, Prediction(members, _native(sides, cover, case) if sides else None)


def _patches(
    run: Run,
    predict: Predict,
    cases: Sequence[Case],
    shown: list[tuple[int, Window]],
    control: Control,
    size: PassSize,
) -> Iterator[Prediction]:
    """Yield the prediction of each (case, window), on the CPU; a batch of them shares a pass."""
    config = run.config
    others = partners(cases) if control == "shuffled_image" else []

    def predict_part(part: slice) -> Prediction:
        batch = shown[part]
        seeds = [
            generator(config.seed, cases[i].name, w.top, w.left, "predict").initial_seed()
            for i, w in batch
        ]
        images = torch.stack([_input(cases, i, window, control, others) for i, window in batch])
        images = images.to(run.context.device, memory_format=torch.channels_last)
        return predict(images, seeds)

    for p in size.passes(len(shown), predict_part):
        _require_finite(p.members, p.auxiliary)
        members = p.members.float().cpu()
        side = None if p.auxiliary is None else p.auxiliary.float().cpu()
        for k in range(len(members)):
            yield Prediction(members[k : k + 1], None if side is None else side[k : k + 1])


def _native(patches: list[Tensor], cover: list[Window], case: Case) -> Tensor:
    """Return the blend of patches [1, ..., size, size] at the size of the case's mask."""
    return sized(blended(patches, cover, *case.shape), tuple(case.labels.shape))


def _whole_images(
    run: Run, network: ImagePredictor, cases: Sequence[Case]
) -> Iterator[tuple[Case, Prediction]]:
    """Yield cases with the prediction of the network's library."""
    for case in cases:
        with inference(run, network):
            p = network.predict_image(case.pixels, run.config.test.overlap)
        _require_finite(p)
        yield case, Prediction(sized(p[None, None], tuple(case.labels.shape)), None)


def _require_finite(*values: Tensor | None) -> None:
    if not all(p is None or p.isfinite().all() for p in values):
        raise DivergedError("a predicted probability is not finite: the weights are broken")


def _input(
    cases: Sequence[Case], i: int, window: Window, control: Control, others: Sequence[int]
) -> Tensor:
    """Return the patch that the network sees for a window of a case."""
    if control == "shuffled_image":
        return cases[others[i]].patch(window)
    own = cases[i].patch(window)
    return controls.image(control, own, own)
