"""Warnings where cases have too little foreground, pixels in no tile, or repeated edges."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from orchestrator.diagnostics.shape_checks import repeated_edges
from orchestrator.formatting import plural
from trainables.config import Config
from trainables.data import Case, prepare
from trainables.datasets import Dataset
from trainables.labels import FEW
from trainables.masks import counted

LEFT_OUT = 0.01
"""The largest share of held-out pixels in no tile that is not worth a warning."""


def warnings(configs: Iterable[Config]) -> list[str]:
    """Return a line for each task and class with few validation pixels, as training reads them."""
    read = dict.fromkeys((t.task, t.test.unit) for c in configs for t in c.trainings)
    return [line for task, unit in read for line in _of_task(task, unit)]


def _of_task(task: Dataset, unit: str) -> Iterator[str]:
    slices = prepare(task, unit).val
    cases = [list(of_one) for _, of_one in itertools.groupby(slices, key=lambda c: c.whole)]
    for k, name in enumerate(task.classes[1:], start=1):
        counts = [sum(int((case.labels == k).sum()) for case in of_one) for of_one in cases]
        if sum(counts) < FEW:
            empty = sum(count == 0 for count in counts)
            yield (
                f"warning: {task.title}: {plural(len(cases), 'validation case')} ({unit}) with"
                f" {plural(sum(counts), 'pixel')} of {name}, and {empty} without any: a network"
                " that predicts nothing may have the best score; use another split or size"
            )
    images = prepare(task, "images")
    shapes = (case.labels.shape for case in (*images.train, *images.val, *images.test))
    for problem in repeated_edges(task, [(height, width) for height, width in shapes]):
        yield f"warning: {task.title}: {problem.rule}"
    if unit == "tiles" and (share := _left_out(task)) > LEFT_OUT:
        yield (
            f"warning: {task.title}: {share:.0%} of the held-out pixels lie in no tile and are"
            ' never scored: use "test": {"unit": "cases"}, or a size that divides the images'
        )


def _left_out(task: Dataset) -> float:
    """Return the share of the held-out pixels that lie in no tile of the training size."""
    whole, tiled = prepare(task, "images"), prepare(task, "tiles")
    total = _pixels([*whole.val, *whole.test])
    return 1 - _pixels([*tiled.val, *tiled.test]) / total


def _pixels(cases: Iterable[Case]) -> int:
    return sum(
        case.targets.numel() if case.complete else int(counted(case.targets).sum())
        for case in cases
    )
