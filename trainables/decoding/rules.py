"""The rules that a data set's files must keep, and the order in which they are decoded."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import numpy as np

from trainables.decoding.images import ChannelsError
from trainables.interfaces.dataset import SPLITS, Dataset, Problem, Raster, Source
from trainables.labels import IGNORE
from trainables.runtime.heartbeat import beat

NAMED = 3
"""Files that a problem of many names."""


def accepted(dataset: Dataset) -> list[Source]:
    """All images, if the rules that need no decoding hold.

    Raises:
        ValueError: names the first bad file, how many there are, and how to list them all.
    """
    items: list[Source | Problem] = []
    for item in scanned(dataset):
        items.append(item)
        beat()
    problems = [p for p in items if isinstance(p, Problem)]
    sources = [s for s in items if isinstance(s, Source)]
    fatal = [p for p in [*problems, *among(sources)] if p.fatal]
    if fatal:
        raise _refused(dataset, fatal[0], len(fatal))
    return sources


def scanned(dataset: Dataset) -> Iterator[Source | Problem]:
    """Yield every image and every problem of the files.

    Raises:
        ValueError: a user's data set yields something else.
    """
    for item in cast("Iterable[object]", dataset.scan()):
        if not isinstance(item, Source | Problem):
            kind = type(item).__name__
            raise ValueError(f"{dataset.title}: scan() must yield Source or Problem, not {kind}")
        yield item


def checked(dataset: Dataset, sources: Iterable[Source]) -> Iterator[tuple[Source, Raster]]:
    """Images decoded, up to the first that breaks a rule.

    Raises:
        ValueError: names its file and the rule.
    """
    first: list[str] = []
    for source, raster in decoded(sources):
        file = source.file or source.name
        if isinstance(raster, ChannelsError):
            raise _refused(dataset, of_other_channels(dataset, {raster.channels: [file]}, first), 1)
        wrong = raster if isinstance(raster, Exception) else fault(dataset, raster)
        if wrong is not None:
            raise _refused(dataset, Problem(file, str(wrong)), 1)
        first = first or [file]
        yield source, cast("Raster", raster)


def of_other_channels(
    dataset: Dataset, wrong: Mapping[int, Sequence[str]], right: Sequence[str]
) -> Problem:
    """One problem that names the images of each number of channels; ``right`` have the wanted one.

    Either some images differ from the others, or all of them from the data set.
    """
    counts = {dataset.channels: right, **wrong} if right else dict(wrong)
    parts = [f"{len(files)} have {n}, {_names(sorted(files))}" for n, files in counts.items()]
    others = ""
    if len(counts) == 1:
        others = f"; the data set has {dataset.channels}"
        others += " (modalities=)" if hasattr(dataset, "modalities") else ""
    first = next(iter(wrong.values()))[0]
    return Problem(first, f"images must have one number of channels: {'; '.join(parts)}{others}")


def alike(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems whose rules differ in files and numbers only as one, with its files."""
    groups: dict[tuple[bool, str], list[Problem]] = {}
    for problem in problems:
        shape = re.sub(r"\S*[/\d]\S*( \S*[/\d]\S*)*", "#", problem.rule)
        groups.setdefault((problem.fatal, shape), []).append(problem)
    return [p for group in groups.values() for p in _joined(group)]


def _joined(group: list[Problem]) -> list[Problem]:
    files = list(dict.fromkeys(problem.file for problem in group))
    if len(files) <= NAMED:
        return group
    first = group[0]
    rule = f"{first.rule}; so do {len(files) - 1} more files: {_names(files[1:])}"
    return [Problem(first.file, rule, first.fatal)]


def _names(files: Sequence[str]) -> str:
    more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
    return ", ".join(files[:NAMED]) + more


def _refused(dataset: Dataset, first: Problem, count: int) -> ValueError:
    more = f" (and {count - 1} more problems)" if count > 1 else ""
    return ValueError(f"{dataset.title}: {first}{more}; `segprint data check` lists what is wrong")


def among(sources: Iterable[Source]) -> Iterator[Problem]:
    """Yield the problems of the images as a whole: their names, groups and splits."""
    names: dict[str, Source] = {}
    homes: dict[str, Source] = {}
    for source in sources:
        file = source.file or source.name
        if names.setdefault(source.name, source) is not source:
            yield Problem(file, f"the name {source.name} is there twice")
        home = homes.setdefault(source.group, source)
        if home.split != source.split:
            yield Problem(
                file,
                f"{source.group} is in two splits: {source.split}, and {home.split}"
                f" ({home.file or home.name})",
            )
    for split in SPLITS:
        if not any(s.split == split for s in names.values()):
            yield Problem(split, "this split has no image")


def fault(dataset: Dataset, raster: Raster) -> str | None:
    """The first rule that a decoded image breaks; None where it breaks none."""
    pixels, labels, instances = raster.pixels, raster.labels, raster.instances
    of_objects = labels.shape if instances is None else instances.shape
    classes = labels[labels != IGNORE] if dataset.ignores else labels
    most = int(classes.max(initial=0))
    if (wrong := _fault_of_annotations(dataset, raster)) is not None:
        return wrong
    rules = (
        (len(pixels) == dataset.channels, f"has {len(pixels)} channels, not {dataset.channels}"),
        (pixels.shape[1:] == labels.shape, f"is {pixels.shape[1:]} but its mask is {labels.shape}"),
        (of_objects == labels.shape, f"is {labels.shape} but its instances are {of_objects}"),
        (labels.size > 0, "has no pixel"),
        (bool(np.isfinite(pixels).all()), "has a NaN or inf pixel"),
        (most < len(dataset.classes), f"has label {most}, beyond its classes {dataset.classes}"),
    )
    return next((rule for holds, rule in rules if not holds), None)


def _fault_of_annotations(dataset: Dataset, raster: Raster) -> str | None:
    """The first rule that the masks of several annotators break; None where they break none."""
    labels, annotations, names = raster.labels, raster.annotations, raster.annotators
    if annotations is None:
        return f"names {len(names)} annotators but has no annotations" if names else None
    if annotations.ndim != 3 or annotations.shape[1:] != labels.shape or not len(annotations):
        return (
            f"has annotations of shape {annotations.shape}, must be (annotators, *{labels.shape})"
        )
    if names and (len(names) != len(annotations) or len(set(names)) != len(names)):
        return f"has {len(annotations)} annotations but the annotators {list(names)}"
    kept = annotations[annotations != IGNORE] if dataset.ignores else annotations
    most = int(kept.max(initial=0))
    if most >= len(dataset.classes):
        return f"has an annotation of label {most}, beyond its classes {dataset.classes}"
    return None


def decoded(sources: Iterable[Source]) -> Iterator[tuple[Source, Raster | Exception]]:
    """Sources in order, each with what it holds or why it cannot be read; some decoded ahead."""
    system: Any = os
    known = hasattr(os, "sched_getaffinity")  # not on every system
    cpus = len(system.sched_getaffinity(0)) if known else os.cpu_count() or 1
    workers = min(8, cpus)  # of the CPUs that this process may use
    ahead: deque[tuple[Source, Future[Raster]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for source in sources:
            ahead.append((source, pool.submit(source.read)))
            if len(ahead) > workers:
                yield _result(*ahead.popleft())
        while ahead:
            yield _result(*ahead.popleft())


def _result(source: Source, future: Future[Raster]) -> tuple[Source, Raster | Exception]:
    try:
        return source, future.result()
    except (ValueError, OSError) as error:
        return source, error
    except Exception as error:  # an error in one reader must not hide the other problems
        return source, ValueError(f"{type(error).__name__}: {error}")
