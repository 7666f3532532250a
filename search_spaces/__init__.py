"""Search spaces: the classes that describe a study, and one file per built-in study.

A space is plain data and needs no torch, Ray, Optuna or Arrow, so listing spaces is instant.
"""

from __future__ import annotations

import ast
import difflib
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from search_spaces._domains import Choice, Each, Integer, LogUniform, Parameter, Uniform, walk
from search_spaces._rules import paths
from search_spaces._types import check_config, check_identifier, check_overrides, check_types
from search_spaces._workers import Workers, check_workers_by_arm, most
from trainables import user_files

__all__ = [
    "Budget",
    "Choice",
    "Each",
    "Integer",
    "LogUniform",
    "Parameter",
    "Search",
    "Space",
    "Uniform",
    "Workers",
    "docstring",
    "file_of",
    "load",
    "names",
    "put",
    "summary",
    "walk",
]

HERE = Path(__file__).parent


KEEP = ("none", "final", "all")
PRUNERS = ("halving", "hyperband", "wilcoxon", "none")


@dataclass(frozen=True)
class Search:
    """How parameters are searched: ``trials`` per cell, scored on validation cases only."""

    trials: int
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """``path: value`` pairs that make a search trial cheaper than a final trial: fewer
    ``train.steps`` or members, a smaller ``train.fraction`` of the data or ``task.NAME.size``."""
    rungs: tuple[int, ...] = ()
    """Steps at which a trial may be stopped early."""
    pruner: str = "halving"
    """Which trials stop at a rung: the lower half of a cell's trials (``halving``; ``hyperband``
    adds brackets that skip the first rungs), or those that a paired test over the validation cases
    finds worse than the best (``wilcoxon``)."""
    objectives: tuple[str, ...] = ("dice",)
    """Metrics or costs (passes, device_seconds, parameters); a minus sign marks those of which
    less is better. Among the trials within the limits, the best by the first objective becomes the
    final config: it is on the Pareto front, and each arm keeps one config for paired comparisons.
    """
    limits: Mapping[str, float] = field(default_factory=dict[str, float])
    """The worst permitted value of a metric or cost."""
    warm_start: tuple[str, ...] = ()
    """Studies whose search trials start this search, if their task and parameters are the same."""
    seed: int = 0
    # The study's revision hashes repr(space), which leaves out what does not change results.
    workers: Workers | None = field(default=None, repr=False)
    """The number of workers of a search trial; None: as many as the arm's other trials."""

    def __post_init__(self) -> None:
        check_types(self, but=("workers",))
        if self.trials < 1:
            raise ValueError(f"Search: trials={self.trials} must be at least 1")
        if self.pruner not in PRUNERS:
            choices = ", ".join(PRUNERS)
            raise ValueError(f"Search: unknown pruner {self.pruner!r} (choices: {choices})")
        if not self.objectives:
            raise ValueError("Search: objectives must name at least one, e.g. ('dice', '-ece')")
        if list(self.rungs) != sorted({rung for rung in self.rungs if rung >= 1}):
            raise ValueError(f"Search: rungs={self.rungs} must be increasing steps of at least 1")
        check_overrides("Search: overrides", self.overrides)


@dataclass(frozen=True)
class Budget:
    """The budget of a study. Once a limit is reached, no trial is started; running trials end.

    Trials, device-hours and money count the trials that the study itself trained: committed ones,
    which holds over restarts, and running ones by their time so far. ``hours`` are the hours of one
    sweep.
    """

    trials: int | None = None
    hours: float | None = None
    device_hours: float | None = None
    money: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict[str, float])
    """The price of one hour, by a part of the device's name: ``{"cpu": 0.04, "H100": 3.1}``, where
    ``cpu`` stands for every processor. A device without a price is charged at the highest rate."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("trials", "hours", "device_hours", "money"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"Budget: {name}={value} must be positive")
        if self.money is not None and not self.rates:
            raise ValueError("Budget: money needs rates={device: price of an hour}")
        for device, rate in self.rates.items():
            if not 0 <= rate < math.inf:
                raise ValueError(f"Budget: rates[{device!r}]={rate} must be a price of at least 0")
        if self.money is not None and not any(self.rates.values()):
            raise ValueError("Budget: rates must have a price above 0, else money ends no study")


@dataclass(frozen=True)
class Space:
    """A study: its question, a config with parameters, the arms to compare, and the budget.

    Arms are named sets of ``path: value`` overrides of ``config``. They share tasks, seeds and
    splits, so they are compared in pairs. An arm with searched parameters is searched first; its
    best config is then trained in full, ``replicates`` times.
    """

    question: str
    config: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"default": dict[str, Any]()}
    )
    replicates: int = 1
    search: Search | None = None
    workers: Workers | Mapping[str, Workers] = 1
    """The number of workers of each trial, or that of each arm by its name (1 for others). A pair
    is the minimum and the maximum, for clusters whose nodes come and go. A trial without gradient
    steps, or of a model that its library trains, has one worker."""
    cpus: float = 1.0
    """CPUs of each worker, which is also its number of torch threads."""
    gpus: float = 1.0
    """GPUs of each worker, a fraction of one or a whole number; 0 on a cluster without GPUs."""
    constraints: tuple[str, ...] = ()
    """Comparisons of config values that every config must satisfy:
    ``"mode.diffusion.t_low + 0.2 <= mode.diffusion.t_high"``."""
    # The study's revision hashes repr(space), which leaves out what does not change results.
    budget: Budget | None = field(default=None, repr=False)
    most: int = field(default=1000, repr=False)
    """The largest permitted number of trials; a larger space is refused."""
    keep: str = field(default="final", repr=False)
    """Which weights the store keeps, each those of the best validation: ``final``, those of final
    trials, and until a search is over of its trials; ``all``, of search trials for good; or
    ``none``, and then every trial trains."""
    keep_gb: float | None = field(default=None, repr=False)
    """The largest total size of the weights in the store, in 10⁹ bytes. Once it is reached, no more
    weights are kept."""
    checkpoint_every: float | None = field(default=None, repr=False)
    """Minutes between two checkpoints of a trial; None: one at every validation. They are written
    in the background, one at a time."""
    read_only: bool = field(default=False, repr=False)
    """Whether trials only read: a trial whose weights are not kept is left out."""
    name: str | None = field(default=None, repr=False)
    """The study's name; None: the name of its file."""
    baseline: str | None = field(default=None, repr=False)
    """The arm, or the label of the grid value, that all others are compared with; None: every pair
    is compared."""

    def __post_init__(self) -> None:
        check_types(self, but=("workers",))
        check_config(self.config, "Space: config")
        check_config(self.arms, "Space: arms")
        for name in ("replicates", "most"):
            if getattr(self, name) < 1:
                raise ValueError(f"Space: {name}={getattr(self, name)} must be at least 1")
        if not self.arms:
            raise ValueError("Space: arms must name at least one arm")
        searching = self.search.workers if self.search is not None else None
        check_workers_by_arm(self.workers, searching, self.arms)
        if self.cpus <= 0 or self.gpus < 0 or (self.gpus > 1 and self.gpus % 1):
            raise ValueError(
                f"Space: cpus={self.cpus} must be positive, gpus={self.gpus} a share of one GPU or"
                " a whole number"
            )
        if self.keep not in KEEP:
            raise ValueError(f"Space: unknown keep {self.keep!r} (choices: {', '.join(KEEP)})")
        if self.keep_gb is not None and self.keep_gb <= 0:
            raise ValueError(f"Space: keep_gb={self.keep_gb} must be positive")
        if self.checkpoint_every is not None and self.checkpoint_every <= 0:
            raise ValueError(
                f"Space: checkpoint_every={self.checkpoint_every} must be positive minutes, or"
                " None: at every validation"
            )
        every = [self.workers_of(arm, stage) for arm in self.arms for stage in ("search", "final")]
        if 0 < self.gpus < 1 and max(map(most, every)) > 1:
            raise ValueError(
                f"Space: gpus={self.gpus} must be 0 or a whole number with several workers per"
                " trial, which cannot share a GPU"
            )
        if self.name is not None:
            check_identifier("Space: name", self.name)
        for name, overrides in self.arms.items():
            check_identifier("Space: arm", name)
            check_overrides(f"Space: arm {name!r}", overrides)
        for rule in self.constraints:
            paths(rule)

    def workers_of(self, arm: str, stage: str) -> Workers:
        """Return the number of workers of an arm's trials in a stage, ``search`` or ``final``."""
        if stage == "search" and self.search is not None and self.search.workers is not None:
            return self.search.workers
        return self.workers if isinstance(self.workers, int | tuple) else self.workers.get(arm, 1)


def put(config: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return the config with the value at a dotted path replaced.

    >>> put({"train": {"steps": 5}}, "train.steps", 9)
    {'train': {'steps': 9}}
    >>> put({"mode": "diffusion"}, "mode.diffusion.t_high", 0.9)
    {'mode': {'diffusion': {'t_high': 0.9}}}
    """
    head, _, rest = path.partition(".")
    if not head:
        raise ValueError(f"path {path!r} must be names joined by dots")
    if not rest:
        return {**config, head: value}
    inner: Any = config.get(head, {})
    if isinstance(inner, str):  # a part by its bare name
        inner = {inner: {}}
    if not isinstance(inner, Mapping):
        raise ValueError(f"path {path!r} goes below {head!r}, which holds {inner!r}")
    return {**config, head: put(cast("Mapping[str, Any]", inner), rest, value)}


def names() -> list[str]:
    """Return the names of the built-in spaces."""
    return sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_"))


def file_of(name_or_path: str) -> Path:
    """Return the file of a built-in space, or the user's own file.

    Raises:
        ValueError: neither a built-in name nor the path of a .py file.
    """
    if name_or_path in names():
        return HERE / f"{name_or_path}.py"
    path = Path(name_or_path)
    if path.suffix == ".py":
        if path.is_file():
            return path
        raise ValueError(f"space {name_or_path!r}: there is no such file")
    near = difflib.get_close_matches(name_or_path, names(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"unknown space {name_or_path!r}{hint} (choices: {', '.join(names())},"
        " or the path of a .py file)"
    )


def docstring(name_or_path: str) -> str:
    """Return the docstring of a space's file, without importing the file."""
    return ast.get_docstring(ast.parse(file_of(name_or_path).read_bytes())) or ""


def summary(name: str) -> str:
    """Return the first line of a space's docstring."""
    return docstring(name).partition("\n")[0]


def load(name_or_path: str) -> tuple[str, Space]:
    """Return the name of a study, ``Space.name`` or else the name of its file, and its space.

    Raises:
        ValueError: there is no such space, or a file that does not define ``SPACE = Space(...)``.
    """
    path = file_of(name_or_path)
    check_identifier("space: the file's name", path.stem)
    module = user_files.load(path, f"space {name_or_path!r}")
    space = getattr(module, "SPACE", None)
    if not isinstance(space, Space):
        raise ValueError(
            f"space {name_or_path!r} must define SPACE = Space(...), found {reprlib.repr(space)}"
        )
    return space.name or path.stem, space
