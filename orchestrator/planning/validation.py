"""Validation of a space before anything runs: its cells, their search and their workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.heldout.baselines import called, grid_labels
from orchestrator.planning.cells import Cell, cells, unconstrained
from orchestrator.planning.objectives import Objectives
from orchestrator.planning.resources import workers_of
from search_spaces import Search, Space, walk
from search_spaces._parameters import corners
from search_spaces._rules import AbsentError, look_up, paths
from search_spaces._types import check_name
from search_spaces._workers import Workers, fewest, most
from trainables.config import Config
from trainables.evaluation.predict import passes_per_image
from trainables.models import require_installed
from trainables.part import unknown


def check_shares(name: str, config: Config, workers: Workers) -> None:
    """Check that every permitted number of workers shares a batch evenly.

    Raises:
        ValueError: it does not.
    """
    train = config.train
    if train.batch < most(workers):
        raise ValueError(
            f"cell {name}: train.batch={train.batch} must be at least {most(workers)}, the number"
            " of workers"
        )
    counts = range(fewest(workers), most(workers) + 1)
    uneven = [n for n in counts if train.accumulate > 1 and train.batch % (train.accumulate * n)]
    if uneven:
        raise ValueError(
            f"cell {name}: train.batch={train.batch} must be a multiple of train.accumulate="
            f"{train.accumulate} times the number of workers, it is not for"
            f" {', '.join(map(str, uneven))} (Space.workers={workers})"
        )


def check_search(cell: Cell, search: Search) -> None:
    """Check the rungs and the overrides of a search.

    An override must not touch a searched value. A rung must be a validation step, since no trial is
    stopped elsewhere. If passes are an objective or a limit, search trials must need as many as
    final trials.

    Raises:
        ValueError: a rule is broken.
    """
    _check_overrides(cell, search)
    cheap = cell.config(cell.example, search.overrides, 0)
    final = cell.config(cell.example, {}, 0)
    if "passes" in Objectives.of(search).names:
        few, many = passes_per_image(cheap), passes_per_image(final)
        if few != many:
            raise ValueError(
                f"cell {cell.name}: Search.overrides change the passes from {many} to {few}, but"
                " passes are an objective or a limit"
            )
    every = cheap.train.validate_every
    if search.pruner in ("hyperband", "wilcoxon") and not search.rungs:
        raise ValueError(f"Search: pruner={search.pruner!r} needs rungs=(step, ...)")
    if search.pruner == "none" and search.rungs:
        raise ValueError(
            f"Search: rungs={search.rungs} have no effect with pruner='none'; remove one of them"
        )
    for rung in search.rungs:
        if rung % every != 0:
            raise ValueError(
                f"cell {cell.name}: rung {rung} must be a multiple of train.validate_every={every}"
            )


def _check_overrides(cell: Cell, search: Search) -> None:
    """Refuse an override of a searched value: the trial would not train what was suggested."""
    for override in search.overrides:
        for path, _ in walk(cell.template):
            if f"{path}.".startswith(f"{override}.") or f"{override}.".startswith(f"{path}."):
                raise ValueError(
                    f"cell {cell.name}: Search.overrides sets {override!r}, but {path!r} is"
                    " searched; remove one of them"
                )


def check(space: Space) -> list[Cell]:
    """Return all cells after parsing every corner of each, so that errors come before Ray starts.

    Raises:
        ValueError: the space describes no valid config.
    """
    checked = cells(space)
    _check_constraints(space)
    _check_baseline(space, checked)
    locations: dict[str, str] = {}
    for cell in checked:
        task = cell.config(cell.example, {}, seed=0).task
        check_name(f"cell {cell.name}: task", task.title)
        if task.title.startswith("-"):
            raise ValueError(f"cell {cell.name}: task {task.title!r} must not begin with a dash")
        known = locations.setdefault(task.title, task.where)
        if known != task.where:
            raise ValueError(
                f"cell {cell.name}: two data sets are called {task.title}: {known} and"
                f" {task.where}; rename one of them"
            )
        stages: dict[str, Mapping[str, Any]] = {"final": {}}
        if cell.searched and space.search is not None:
            stages["search"] = space.search.overrides
            check_search(cell, space.search)
        for stage, overrides in stages.items():
            configs = [cell.config(values, overrides, seed=0) for values in cell.corners]
            workers = _workers(space, cell, stage)
            for config in configs if most(workers) > 1 else []:
                check_shares(cell.name, config, workers)
    _check_rungs_are_reached(space, checked)
    return checked


def _check_rungs_are_reached(space: Space, checked: list[Cell]) -> None:
    """Refuse a rung above the steps of every search trial; nothing would be stopped there."""
    search, searched = space.search, [cell for cell in checked if cell.searched]
    if search is None or any(
        path == "train.steps" for c in searched for path, _ in walk(c.template)
    ):
        return
    steps = [c.config(c.example, search.overrides, 0).train.steps for c in searched]
    for rung in search.rungs if steps else ():
        if rung > max(steps):
            raise ValueError(
                f"Search: no search trial reaches rung {rung} (train.steps is at most {max(steps)})"
            )


def _workers(space: Space, cell: Cell, stage: str) -> Workers:
    """Return the workers of a cell's trials in a stage.

    Raises:
        ValueError: the arm is given several workers by its name, and cannot use them.
    """
    workers = workers_of(space, cell, stage)
    named = isinstance(space.workers, Mapping) and most(space.workers.get(cell.arm, 1)) > 1
    if stage == "final" and named and most(workers) == 1:
        raise ValueError(
            f"cell {cell.name}: Space.workers[{cell.arm!r}] must be 1: several workers share the"
            " gradient steps of a trial, and this one makes none or a library trains its model"
        )
    return workers


def ready(space: Space) -> list[Cell]:
    """Return all checked cells, after checking that every model's library is installed here."""
    checked = check(space)
    for cell, values in ((c, v) for c in checked for v in c.corners):
        require_installed(cell.config(values, {}, seed=0).model)
    return checked


def _check_constraints(space: Space) -> None:
    """Refuse a constraint on a path that no cell has, since it would exclude nothing."""
    every = unconstrained(space) if space.constraints else []
    for rule in space.constraints:
        for path in paths(rule):
            if not any(_has(c.plain(v), path) for c in every for v in corners(c.template)):
                raise ValueError(f"constraint {rule!r}: no cell has {path}")


def _check_baseline(space: Space, checked: list[Cell]) -> None:
    """Refuse a baseline that no cell has."""
    known = [(cell.name, cell.arm) for cell in checked]
    if space.baseline is not None and not called(space.baseline, known):
        labels = (label for cell in known for label in grid_labels(*cell))
        raise unknown("Space: baseline", space.baseline, [*space.arms, *dict.fromkeys(labels)])


def _has(config: Mapping[str, Any], path: str) -> bool:
    try:
        look_up(config, path)
    except AbsentError:
        return False
    return True
