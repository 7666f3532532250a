"""From a trained network and held-out cases to additive rows: counts, calibration and more."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables import controls, masks
from trainables.config import Config, Evaluation
from trainables.controls import Control
from trainables.data import Case, prepare
from trainables.datasets import Dataset
from trainables.evaluation import diversity, instances, temperature
from trainables.metrics.dice import Dice
from trainables.models import ImagePredictor, Network
from trainables.modes import Prediction
from trainables.runtime.seeding import generator
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import BINS, DivergedError
from trainables.tiling import Window, blended, sized, windows

PIXELS_AT_ONCE = 64 * 64**2
"""Of all patches and members in one pass."""

Row = dict[str, Any]


@dataclass
class Rows:
    """Rows of the tables that evaluation fills."""

    cases: list[Row] = field(default_factory=list[Row])
    calibration: list[Row] = field(default_factory=list[Row])
    samples: list[Row] = field(default_factory=list[Row])
    instances: list[Row] = field(default_factory=list[Row])
    pictures: list[Row] = field(default_factory=list[Row])


@contextlib.contextmanager
def reading(config: Config, network: Network, context: WorkerContext) -> Generator[None]:
    """No gradients, evaluation mode, and the precision that the network was trained in."""
    context.beat()
    network.eval()
    with torch.no_grad(), autocast(config, context):
        yield


def autocast(config: Config, context: WorkerContext) -> torch.autocast:
    """The config's precision on the worker's device."""
    kind = torch.device(context.device).type
    return torch.autocast(kind, torch.bfloat16, enabled=config.train.precision == "bfloat16")


def patches_at_once(config: Config) -> int:
    """How many patches, with all their members, share a pass."""
    return max(1, PIXELS_AT_ONCE // (config.task.size**2 * config.mode.ensemble))


def patches(config: Config, cases: Sequence[Case]) -> int:
    """How many patches a network is shown of some cases."""
    return sum(len(windows(*case.shape, config.task.size, config.test.overlap)) for case in cases)


def passes_per_image(config: Config) -> int:
    """Network passes that one test case takes: those of a patch, times its patches on average.

    What is to be known before training: it looks at the images' sizes, not at a network.
    """
    passes = config.mode.passes * config.model.views
    return round(passes * _patches_per_case(config.task, config.test))


@functools.lru_cache(maxsize=64)
def _patches_per_case(task: Dataset, test: Evaluation) -> float:
    cases = prepare(task, test.unit).test
    laid = (windows(*case.shape, task.size, test.overlap) for case in cases)
    return sum(map(len, laid)) / len(cases)


def predictions(
    config: Config,
    network: Network,
    cases: Sequence[Case],
    mine: Sequence[int],
    context: WorkerContext,
    control: Control = "none",
) -> Iterator[tuple[Case, Prediction]]:
    """Each of ``mine`` (places in ``cases``) with its prediction [1, ...] at native size, on CPU.

    Patches of several small cases share a pass; a large case has several, blended; probabilities
    of a reduced image are interpolated to the size of its mask.
    """
    if isinstance(network, ImagePredictor):
        yield from _read(config, network, [cases[i] for i in mine], context)
        return
    at_once = patches_at_once(config)
    waiting: list[tuple[int, list[Window]]] = []
    for i in mine:
        waiting.append((i, windows(*cases[i].shape, config.task.size, config.test.overlap)))
        if sum(len(over) for _, over in waiting) >= at_once:
            yield from _predicted(config, network, cases, waiting, context, control)
            waiting = []
    yield from _predicted(config, network, cases, waiting, context, control)


def _predicted(
    config: Config,
    network: Network,
    cases: Sequence[Case],
    waiting: list[tuple[int, list[Window]]],
    context: WorkerContext,
    control: Control,
) -> Iterator[tuple[Case, Prediction]]:
    at_once = patches_at_once(config)
    shown = [(i, window) for i, over in waiting for window in over]
    found: list[Prediction] = []
    for first in range(0, len(shown), at_once):
        some = shown[first : first + at_once]
        words = [(cases[i].name, w.top, w.left) for i, w in some]
        seeds = [generator(config.seed, *word, "predict").initial_seed() for word in words]
        images = torch.stack([_seen(cases, i, window, control) for i, window in some])
        images = images.to(context.device, memory_format=torch.channels_last)
        with reading(config, network, context):
            p = config.mode.predict(network, images, config.classes, seeds, control)
        _require_finite(p.members, p.auxiliary)
        members = p.members.float().cpu()
        side = None if p.auxiliary is None else p.auxiliary.float().cpu()
        found += [
            Prediction(members[k : k + 1], None if side is None else side[k : k + 1])
            for k in range(len(some))
        ]
    for i, over in waiting:
        mine, found = found[: len(over)], found[len(over) :]
        sides = [p.auxiliary for p in mine if p.auxiliary is not None]
        members = _native([p.members for p in mine], over, cases[i])
        yield cases[i], Prediction(members, _native(sides, over, cases[i]) if sides else None)


def _native(patches: list[Tensor], over: list[Window], case: Case) -> Tensor:
    """Patches [1, ..., size, size] at the size of the case's mask."""
    return sized(blended(patches, over, *case.shape), tuple(case.labels.shape))


def _read(
    config: Config, network: ImagePredictor, cases: Sequence[Case], context: WorkerContext
) -> Iterator[tuple[Case, Prediction]]:
    """Whole cases, as the network's library reads them."""
    for case in cases:
        with reading(config, network, context):
            p = network.predict_image(case.pixels, config.test.overlap)
        _require_finite(p)
        yield case, Prediction(sized(p[None, None], tuple(case.labels.shape)), None)


def _require_finite(*found: Tensor | None) -> None:
    if not all(p is None or p.isfinite().all() for p in found):
        raise DivergedError("a predicted probability is not finite: the weights are broken")


def _seen(cases: Sequence[Case], i: int, window: Window, control: Control) -> Tensor:
    """What the network is shown for a patch of a case."""
    own = cases[i].patch(window)
    if control != "shuffled_image":
        return controls.image(control, own, own)
    return cases[controls.partner(i, len(cases))].patch(window)


def counts(predicted: Tensor, truth: Tensor) -> Row:
    """Pixel counts of one class in one tile; both are bool."""
    tp = int((predicted & truth).sum())
    fp, fn = int(predicted.sum()) - tp, int(truth.sum()) - tp
    return {"tp": tp, "fp": fp, "fn": fn, "tn": truth.numel() - tp - fp - fn}


def histogram(p: Tensor, truth: Tensor) -> list[Row]:
    """Rows of the non-empty bins of a foreground probability; ``truth`` is bool, same shape."""
    p, y = p.flatten().double(), truth.flatten().double()
    # The mean of N members often is a coarse bin's edge; single precision may fall short of it.
    bins = (p * BINS + 1e-3).long().clamp(max=BINS - 1)
    kept = p.clamp(1e-7, 1 - 1e-7)  # so that a confident error has a finite cost
    sums = {
        "p_sum": p,
        "y_sum": y,
        "square_sum": (p - y).square(),
        "nll_sum": -torch.where(truth.flatten(), kept.log(), (1 - kept).log()),
    }
    count = torch.bincount(bins, minlength=BINS)
    binned = {k: torch.zeros(BINS).double().index_add_(0, bins, v) for k, v in sums.items()}
    return [
        {"bin": b, "count": int(count[b]), **{k: float(v[b]) for k, v in binned.items()}}
        for b in count.nonzero().flatten().tolist()
    ]


def measure(
    config: Config, network: Network, cases: Sequence[Case], split: str, context: WorkerContext
) -> Rows:
    """Rows of this worker's share of the cases."""
    mine = range(context.rank, len(cases), context.world)
    rows = Rows()
    own = config.train.control
    for case, p in predictions(config, network, cases, mine, context, own):
        mean = p.members.mean(1)
        _count(config, rows, case, split, "sample", mean)
        _spread(config, rows, case, split, p.members[0])
        _objects(config, rows, case, split, mean)
        if p.auxiliary is not None:
            _count(config, rows, case, split, "auxiliary", p.auxiliary)
            _count(config, rows, case, split, "blend", (mean + p.auxiliary) / 2)
    return rows


def measure_controls(
    config: Config, network: Network, cases: Sequence[Case], context: WorkerContext
) -> Rows:
    """Rows of this worker's share of the test cases under each control."""
    mine = range(context.rank, len(cases), context.world)
    rows = Rows()
    for control in config.test.controls:
        if control == "temperature":
            continue
        for case, p in predictions(config, network, cases, mine, context, control):
            _count(config, rows, case, "test", control, p.members.mean(1))
    return rows


def seen(
    config: Config, network: Network, cases: Sequence[Case], context: WorkerContext
) -> list[temperature.Seen]:
    """The worker's share of the cases, as a temperature is fitted to them."""
    mine = range(context.rank, len(cases), context.world)
    shown = predictions(config, network, cases, mine, context, config.train.control)
    return [temperature.seen(p.members.mean(1), c.labels, config.classes) for c, p in shown]


def measure_scaled(
    config: Config, network: Network, cases: Sequence[Case], context: WorkerContext, by: float
) -> Rows:
    """Rows of this worker's share of the test cases, at a temperature."""
    mine = range(context.rank, len(cases), context.world)
    rows = Rows()
    for case, p in predictions(config, network, cases, mine, context, config.train.control):
        scaled = temperature.scaled(p.members.mean(1), by)
        _count(config, rows, case, "test", "temperature", scaled)
    return rows


def score(
    config: Config, network: Network, cases: Sequence[Case], context: WorkerContext
) -> Tensor:
    """Dice of each case and foreground class, float64 [N, K]; zero where a case is another's.

    An empty prediction of an empty mask counts as 1.
    """
    found = torch.zeros(len(cases), config.classes - 1, dtype=torch.float64)
    mine = range(context.rank, len(cases), context.world)
    shown = predictions(config, network, cases, mine, context, config.train.control)
    for i, (case, p) in zip(mine, shown, strict=True):
        predicted = masks.to_labels(p.members.mean(1))[0]
        for k in range(1, config.classes):
            row = counts(predicted == k, case.labels == k)
            sums = {n: np.array(v, float) for n, v in row.items()}
            found[i, k - 1] = float(Dice().value(sums))
    return found


def _keys(config: Config, case: Case, split: str) -> Iterator[tuple[int, Row]]:
    """Each foreground class with the key columns of its row."""
    for k, label in enumerate(config.task.classes[1:], start=1):
        yield k, {"split": split, "case": case.name, "group": case.group, "class": label}


def _count(
    config: Config, rows: Rows, case: Case, split: str, reading: str, p_1MHW: Tensor
) -> None:
    predicted, foreground = masks.to_labels(p_1MHW)[0], masks.foreground(p_1MHW)[0]
    for k, about in _keys(config, case, split):
        key, truth = {**about, "reading": reading}, case.labels == k
        of_truth = instances.shape(truth, case.instances)
        rows.cases.append({**key, **counts(predicted == k, truth), **of_truth})
        rows.calibration += [{**key, **row} for row in histogram(foreground[k - 1], truth)]
        if reading == "sample":
            band, near = instances.boundary_band(truth), {**about, "reading": "boundary"}
            inside = histogram(foreground[k - 1][band], truth[band])
            rows.calibration += [{**near, **row} for row in inside]


def _spread(config: Config, rows: Rows, case: Case, split: str, p_NMHW: Tensor) -> None:
    predicted = masks.to_labels(p_NMHW)
    for k, key in _keys(config, case, split):
        rows.samples.append({**key, **diversity.row(predicted == k, (case.labels == k)[None])})


def _objects(config: Config, rows: Rows, case: Case, split: str, p_1MHW: Tensor) -> None:
    if case.instances is None:
        return
    predicted = masks.to_labels(p_1MHW)[0]
    for k, key in _keys(config, case, split):
        found = instances.components(predicted == k)
        truth = case.instances * (case.labels == k)
        rows.instances.append({**key, **instances.row(found, truth)})
