"""Rules for a cell's search and its workers, in addition to the rules of each config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.planning.objectives import Objectives
from orchestrator.planning.resources import Workers, fewest, most
from search_spaces import Search
from trainables.config import Config
from trainables.evaluation.predict import passes_per_image

if TYPE_CHECKING:
    from orchestrator.planning.cells import Cell


def check_shares(name: str, config: Config, workers: Workers) -> None:
    """Check that every permitted number of workers shares a batch evenly.

    Raises:
        ValueError: it does not, or the model trains without workers.
    """
    train = config.train
    if config.model.trains_itself and most(workers) > 1:
        raise ValueError(
            f"cell {name}: Space.workers={workers} must be 1 with model {config.model.name},"
            " which an external library trains"
        )
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

    A rung must be a validation step, since no trial is stopped elsewhere. If passes are an
    objective or a limit, search trials must need as many as final trials.

    Raises:
        ValueError: a rule is broken.
    """
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
    if search.pruner == "wilcoxon" and not search.rungs:
        raise ValueError("Search: pruner='wilcoxon' needs rungs=(step, ...)")
    for rung in search.rungs:
        if rung % every != 0:
            raise ValueError(
                f"cell {cell.name}: rung {rung} must be a multiple of train.validate_every={every}"
            )
