"""Warnings where validation has too little foreground to choose a checkpoint or a config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trainables.config import Config
from trainables.data import prepare
from trainables.datasets import Dataset
from trainables.labels import FEW


def warnings(configs: Iterable[Config]) -> list[str]:
    """Return a line for each task and class with few validation pixels, as training reads them."""
    read = dict.fromkeys((t.task, t.test.unit) for c in configs for t in c.trainings)
    return [line for task, unit in read for line in _of_task(task, unit)]


def _of_task(task: Dataset, unit: str) -> Iterator[str]:
    cases = prepare(task, unit).val
    for k, name in enumerate(task.classes[1:], start=1):
        counts = [int((case.labels == k).sum()) for case in cases]
        if sum(counts) < FEW:
            empty = sum(count == 0 for count in counts)
            yield (
                f"warning: {task.title}: the {len(cases)} validation cases ({unit}) have"
                f" {sum(counts)} pixels of {name}, {empty} cases have none: a network that predicts"
                " nothing may have the best score; use another split or size"
            )
