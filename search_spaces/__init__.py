"""The vocabulary of a study: a training config with holes in it, one file per question.

Plain data only; nothing here needs torch, Ray, Optuna or Arrow, so listing is instant.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from search_spaces._rules import paths

HERE = Path(__file__).parent


class Hole:
    """A value that the study decides."""


@dataclass(frozen=True)
class Each(Hole):
    """Every one of these: a grid."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        if not values:
            raise ValueError("Each() needs at least one value")
        object.__setattr__(self, "values", values)


@dataclass(frozen=True)
class Choice(Hole):
    """One of these, searched. Keys are names; a value that holds holes makes them conditional."""

    values: Mapping[str, Any]

    def __init__(self, values: Mapping[str, Any] | list[str] | tuple[str, ...]) -> None:
        named = values if isinstance(values, Mapping) else {v: {} for v in values}
        if len(named) < 1:
            raise ValueError("Choice() needs at least one value")
        object.__setattr__(self, "values", dict(named))


@dataclass(frozen=True)
class Uniform(Hole):
    """A number in [low, high], searched."""

    low: float
    high: float
    log = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"{type(self).__name__}: low={self.low} must be below {self.high}")


@dataclass(frozen=True)
class LogUniform(Uniform):
    """A positive number in [low, high], searched on a logarithmic scale."""

    log = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0:
            raise ValueError(f"LogUniform: low={self.low} must be positive")


@dataclass(frozen=True)
class Integer(Hole):
    """A whole number in low..high, searched."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"Integer: low={self.low} must be below high={self.high}")


PRUNERS = ("halving", "hyperband", "wilcoxon", "none")


@dataclass(frozen=True)
class Search:
    """How searched holes are filled: ``trials`` per cell, judged on validation cases only."""

    trials: int
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """``path: value`` that make a searched trial cheaper than a final one: fewer ``train.steps``, a
    smaller ``train.fraction`` of the data, a smaller ``task.NAME.size``, fewer members."""
    rungs: tuple[int, ...] = ()
    """Steps at which a trial may be stopped early."""
    pruner: str = "halving"
    """Who is stopped at a rung: the lower half of a cell's trials (``halving``; ``hyperband`` has
    brackets that skip the first rungs), or those worse than the best over the validation cases in
    pairs (``wilcoxon``)."""
    objectives: tuple[str, ...] = ("dice",)
    """Metrics or costs (passes, device_seconds, parameters); a minus: the lower, the better. The
    final config is the best by the first among those that keep the limits: it is on the Pareto
    front, and an arm stays one config, to be compared in pairs."""
    limits: Mapping[str, float] = field(default_factory=dict[str, float])
    """The worst value that a final config may have of a metric or cost."""
    warm_start: tuple[str, ...] = ()
    """Studies whose search trials of the same task, with values that fit here, are told first."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"Search: trials={self.trials} must be at least 1")
        if self.pruner not in PRUNERS:
            choices = ", ".join(PRUNERS)
            raise ValueError(f"Search: unknown pruner {self.pruner!r} (choices: {choices})")
        if not self.objectives:
            raise ValueError("Search: objectives must name at least one, e.g. ('dice', '-ece')")


@dataclass(frozen=True)
class Budget:
    """What a study may spend. No trial is started once one of these is; what runs ends.

    Trials, device-hours and money are those of committed trials that the study itself trained, so
    they hold over restarts; ``hours`` are those of one sweep.
    """

    trials: int | None = None
    hours: float | None = None
    device_hours: float | None = None
    money: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict[str, float])
    """Price of an hour by a part of the device's name: ``{"cpu": 0.04, "H100": 3.1}``. A device
    that has none costs as much as the dearest."""

    def __post_init__(self) -> None:
        for name in ("trials", "hours", "device_hours", "money"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"Budget: {name}={value} must be positive")
        if self.money is not None and not self.rates:
            raise ValueError("Budget: money needs rates={device: price of an hour}")


@dataclass(frozen=True)
class Space:
    """A question: a config with holes, its arms, and how much may be spent on it.

    Arms are named sets of ``path: value`` laid over ``config``; they share tasks, seeds and
    splits, so they compare in pairs. An arm with searched holes is searched first; then its best
    config is trained in full, ``replicates`` times, by ``workers`` Ray Train workers.
    """

    question: str
    config: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"default": dict[str, Any]()}
    )
    replicates: int = 1
    search: Search | None = None
    workers: int | tuple[int, int] = 1
    """Workers of the final trial of a searched arm; all other trials have one. A pair is the
    fewest and the most, as nodes come and go."""
    cpus: float = 1.0
    """Of each worker; torch gets as many threads."""
    gpus: float = 1.0
    """Of each worker, a share of one allowed; where the cluster has none, none."""
    constraints: tuple[str, ...] = ()
    """Comparisons that every config keeps, over its whole plain form:
    ``"mode.diffusion.t_low + 0.2 <= mode.diffusion.t_high"``."""
    # What may be spent is no part of the question: it does not enter the study's revision.
    budget: Budget | None = field(default=None, repr=False)
    most: int = field(default=1000, repr=False)
    """Trials beyond which the space is refused: to be raised on purpose."""

    def __post_init__(self) -> None:
        for name in ("replicates", "most"):
            if getattr(self, name) < 1:
                raise ValueError(f"Space: {name}={getattr(self, name)} must be at least 1")
        few, most = (self.workers,) * 2 if isinstance(self.workers, int) else self.workers
        if not 1 <= few <= most:
            raise ValueError(f"Space: workers={self.workers} must be at least 1, or (fewest, most)")
        if self.cpus <= 0 or self.gpus < 0 or (self.gpus > 1 and self.gpus % 1):
            raise ValueError(
                f"Space: cpus={self.cpus} must be positive, gpus={self.gpus} a share of one GPU or"
                " a whole number"
            )
        if not self.arms:
            raise ValueError("Space: arms must name at least one arm")
        for name in self.arms:
            if not name.isidentifier():
                raise ValueError(f"Space: arm {name!r} must be a plain word")
        if isinstance(self.constraints, str):
            raise ValueError("Space: constraints must be a tuple of texts, not one text")
        for rule in self.constraints:
            paths(rule)


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Hole]]:
    """All holes of a config with their paths; conditional ones after the choice they hang on."""
    if isinstance(value, Hole):
        yield path, value
    if isinstance(value, Choice):
        for name, inner in value.values.items():
            yield from walk(inner, f"{path}.{name}")
    elif isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, Any]", value).items():
            yield from walk(inner, f"{path}.{key}" if path else key)


def put(config: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The config with the value at a dotted path replaced.

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
    inner = config.get(head, {})
    if isinstance(inner, str):  # a part by its bare name
        inner = {inner: {}}
    if not isinstance(inner, Mapping):
        raise ValueError(f"path {path!r} goes below {head!r}, which holds {inner!r}")
    return {**config, head: put(cast("Mapping[str, Any]", inner), rest, value)}


def names() -> list[str]:
    """Names of the spaces in this folder."""
    return sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_"))


def file_of(name_or_path: str) -> Path:
    """The file of a named space, or the user's own file by its path.

    Raises:
        ValueError: neither a name nor a file.
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
    """What a space's file says of it, without importing it."""
    return ast.get_docstring(ast.parse(file_of(name_or_path).read_text(encoding="utf-8"))) or ""


def summary(name: str) -> str:
    """First line of a space's docstring."""
    return docstring(name).partition("\n")[0]


def load(name_or_path: str) -> tuple[str, Space]:
    """A space and its study's name, which is its file's.

    Raises:
        ValueError: no such space, or a file that does not define ``SPACE = Space(...)``.
    """
    path = file_of(name_or_path)
    if not path.stem.isidentifier():
        raise ValueError(f"space {path.name!r}: the file's name must be a plain word")
    spec = importlib.util.spec_from_file_location(f"segprint_space_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"space {name_or_path!r}: {type(error).__name__}: {error}") from error
    space = getattr(module, "SPACE", None)
    if not isinstance(space, Space):
        raise ValueError(f"space {name_or_path!r} must define SPACE = Space(...), found {space!r}")
    return path.stem, space
