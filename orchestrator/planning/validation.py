"""What a cell's search and its workers must keep, beside each config's own rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.planning.objectives import Objectives
from orchestrator.planning.resources import Workers, fewest, most
from search_spaces import Search
from trainables.config import Config
from trainables.evaluation.evaluate import passes_per_image

if TYPE_CHECKING:
    from orchestrator.planning.cells import Cell


def check_shares(name: str, config: Config, workers: Workers) -> None:
    """Every number of workers that a final trial may have must share its batch evenly."""
    train = config.train
    if config.model.trains_itself and most(workers) > 1:
        raise ValueError(
            f"cell {name}: Space.workers={workers} must be 1 with model {config.model.name}, which"
            " trains by itself"
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
    """A rung that is no validation step would never stop anything; what a search judges is its own
    trials, so it must not make their passes others than those of the final one.
    """
    cheap, final = (cell.config(cell.example, o, 0) for o in (search.overrides, {}))
    if "passes" in Objectives.of(search).names:
        few, many = passes_per_image(cheap), passes_per_image(final)
        if few != many:
            raise ValueError(
                f"cell {cell.name}: Search.overrides make {few} passes of {many}, which objectives"
                " or limits judge"
            )
    every = cheap.train.validate_every
    if search.pruner == "wilcoxon" and not search.rungs:
        raise ValueError("Search: pruner='wilcoxon' needs rungs=(step, ...)")
    for rung in search.rungs:
        if rung % every != 0:
            raise ValueError(
                f"cell {cell.name}: rung {rung} must be a multiple of train.validate_every={every}"
            )
