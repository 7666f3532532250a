"""The smallest difference in Dice that a planned study detects, from the spread of past ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations, islice

import numpy as np

from orchestrator.formatting import plural
from orchestrator.heldout.baselines import called
from orchestrator.heldout.final_cells import cells_by_task, final_cells, task_names
from orchestrator.heldout.metrics import HeldOut, load_metrics
from orchestrator.heldout.paired import Pairs
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import Plan
from orchestrator.statistics.bootstrap import count_units
from orchestrator.statistics.power import POWER, Design, Spread, detectable, spread_of
from orchestrator.views.catalog import Catalog
from trainables.config import Config
from trainables.data import test_cases

METRIC = "dice"
MOST_PAIRS = 100
"""The most pairs of one study and task whose spread is read."""


@dataclass(frozen=True)
class Detectable:
    """What a study detects on one task; differences are None where no difference is detected."""

    task: str
    units: int
    seeds: int
    comparisons: int
    difference: float | None
    with_twice_the_seeds: float | None
    with_twice_the_units: float | None
    spread_units: float
    spread_seeds: float
    spread_noise: float
    source: str
    """Where the spread is from."""

    @property
    def columns(self) -> dict[str, str | float | None]:
        """The fields by name."""
        return asdict(self)

    def __str__(self) -> str:
        size = f"{self.units} test units and {plural(self.seeds, 'seed')}"
        more = (
            f"{_text(self.with_twice_the_seeds)} with twice the seeds,"
            f" {_text(self.with_twice_the_units)} with twice the units"
        )
        return (
            f"{self.task}: {plural(self.comparisons, 'comparison')} over {size} detect a difference"
            f" in Dice of {_text(self.difference)} with {100 * POWER:.0f} % power ({self.source});"
            f" {more}"
        )


@dataclass(frozen=True)
class PastSpread:
    """The spread of paired differences in a store."""

    spread: Spread
    pairs: int

    def __str__(self) -> str:
        seeds = "" if self.spread.noise else " of one seed, so that seeds count as equal"
        return f"{plural(self.pairs, 'past pair')}{seeds}"


def detectable_differences(
    plan: Plan, ledger: Ledger, stated: Spread | None = None
) -> Iterator[Detectable]:
    """Yield what the study detects on each task with several cells and a known spread.

    The spread is that of past pairs of trained arms on the same data, or on all data; or as
    ``stated``.
    """
    configs = [cell.config(cell.example, {}, seed=0) for cell in plan.cells]
    names = task_names([(plan.study, c.tested.title, json.dumps(c.plain())) for c in configs])
    by_task: dict[str, list[tuple[str, str]]] = {}
    for name, cell in zip(names, plan.cells, strict=True):
        by_task.setdefault(name, []).append((cell.name, cell.arm))
    of_task = dict(zip(names, configs, strict=True))
    several = {task: cells for task, cells in by_task.items() if len(cells) > 1}
    past = {} if stated is not None or not several else past_spreads(ledger)
    for task, cells in several.items():
        comparisons = _comparisons(cells, plan.space.baseline)
        title = of_task[task].tested.title
        known = (stated, "stated") if stated is not None else _known(past, title)
        if known is not None and comparisons:
            design = Design(0, plan.space.replicates, comparisons)
            yield _of_task(task, of_task[task], design, *known)


def past_spreads(ledger: Ledger) -> dict[str, PastSpread]:
    """The median spread of the differences in Dice between trained arms, by data set."""
    tables = Catalog(ledger, {})
    networks = (c for c in final_cells(tables) if c.config.get("train", {}).get("steps") != 0)
    chosen = [cells for cells in cells_by_task(networks).values() if len(cells) > 1]
    held_out = HeldOut(tables, load_metrics([METRIC]), [c for cells in chosen for c in cells])
    pairs = Pairs(held_out)
    found: dict[str, list[Spread]] = {}
    for cells in chosen:
        for one, other in islice(combinations(cells, 2), MOST_PAIRS):
            name = str(one.trials["task"].iloc[0])
            found.setdefault(name, []).extend(
                spread_of(pair.by_seed_and_unit)
                for pair in pairs.differences(one, other)
                if pair.by_seed_and_unit is not None and pair.counts.units > 1
            )
    return {task: _median(spreads) for task, spreads in found.items() if spreads}


def _median(spreads: list[Spread]) -> PastSpread:
    """The median of each part; of seeds and noise, over the pairs with several seeds."""
    several = [spread for spread in spreads if spread.noise > 0] or spreads
    units = float(np.median([spread.units for spread in several]))
    seeds, noise = (float(np.median([s[i] for s in several])) for i in (1, 2))
    return PastSpread(Spread(units, seeds, noise), len(spreads))


def _known(past: Mapping[str, PastSpread], task: str) -> tuple[Spread, str] | None:
    """The spread of a task and its source: that of other data where the task has no past."""
    if task in past:
        return past[task].spread, f"spread of {past[task]} on {task}"
    if not past:
        return None
    widest = max(past, key=lambda name: past[name].spread.units)
    source = f"spread of {past[widest]} on {widest}, the widest in the store"
    return past[widest].spread, source


def _comparisons(cells: list[tuple[str, str]], baseline: str | None) -> int:
    """The number of comparisons on one task: with the baseline, or of every pair."""
    if baseline is None:
        return math.comb(len(cells), 2)
    return len(cells) - len(called(baseline, cells))


def _of_task(task: str, config: Config, design: Design, spread: Spread, source: str) -> Detectable:
    test = test_cases(config.task, config.test)
    units = count_units(len({c.whole for c in test}), len({c.group for c in test}))
    design = design._replace(units=units)
    sizes = (
        design,
        design._replace(seeds=2 * design.seeds),
        design._replace(units=2 * units),
    )
    found = [detectable(spread, size) for size in sizes]
    # Dice lies between 0 and 1, so that no larger difference exists.
    difference, more_seeds, more_units = (None if d > 1 else round(d, 4) for d in found)
    return Detectable(
        task=task,
        units=units,
        seeds=design.seeds,
        comparisons=design.comparisons,
        difference=difference,
        with_twice_the_seeds=more_seeds,
        with_twice_the_units=more_units,
        spread_units=round(spread.units, 4),
        spread_seeds=round(spread.seeds, 4),
        spread_noise=round(spread.noise, 4),
        source=source,
    )


def _text(difference: float | None) -> str:
    return "no size" if difference is None else f"{difference:.3f}"
