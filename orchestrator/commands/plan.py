"""``segprint plan``: the trials that a sweep would run, those that are done, and the cost."""

from __future__ import annotations

import dataclasses
import math
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.commands.options import ledger_of, study_of
from orchestrator.commands.output import emit, print_json, say
from orchestrator.diagnostics.scored_pixels import warnings
from orchestrator.formatting import approximately, binary_size, plural, size
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning import memory_fit, selection, store_load, wall_time
from orchestrator.planning.ceilings import ceilings
from orchestrator.planning.cells import Cell, left_out
from orchestrator.planning.cost import (
    Estimator,
    RemainingTrial,
    TrialKey,
    remaining,
)
from orchestrator.planning.detectable import detectable_differences
from orchestrator.planning.device_memory import memory_here
from orchestrator.planning.memory_estimate import MemoryNeed
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.planning.resources import workers_of
from orchestrator.planning.same_name import check_same_study
from orchestrator.planning.same_trials import same_trials
from orchestrator.planning.stale_configs import outdated
from orchestrator.planning.trainings import shared_trainings
from orchestrator.planning.unread_trials import unread_trials
from orchestrator.statistics.power import Spread
from orchestrator.sweep.budget import HOUR, exhausted, own_digests, price, spent
from trainables.config import Config

Remaining = Mapping[TrialKey, RemainingTrial]


@dataclass(frozen=True)
class PlanSummary:
    """A plan in numbers and sentences."""

    study: str
    cells: list[dict[str, Any]]
    """The counts and the cost of each cell."""
    totals: dict[str, Any]
    lines: list[str]
    """The totals and everything that needs attention, as sentences."""


def main(options: Namespace) -> int:
    """Print one line per cell, and the totals. Writes nothing to the store."""
    ledger = ledger_of(options)
    plan = make_plan(*study_of(options, options.space), ledger)
    study = plan.study
    check_same_study(plan, ledger)
    spread = None if options.spread is None else stated_spread(options.spread)
    summary = summarize(plan, ledger, spread)
    if options.json:
        print_json({"study": study, "cells": summary.cells, **summary.totals})
        return 0
    columns = {k: k.replace("_", " ") for k in summary.cells[0]}
    columns["memory_bytes"] = "memory per worker"
    rows = [{**row, "memory_bytes": _size(row["memory_bytes"])} for row in summary.cells]
    emit(rows, columns, False, every=options.all)
    say()
    for line in summary.lines:
        say(line)
    return 0


def summarize(plan: Plan, ledger: Ledger, spread: Spread | None = None) -> PlanSummary:
    """Return the counts, the estimated cost and the detectable differences of a plan.

    ``spread`` is that of paired differences; None: that of past ones.
    """
    left = remaining(plan, Estimator(ledger))
    here = wall_time.resources_here()
    needs = memory_fit.needs(plan, memory_fit.device_kind(plan, here.gpus))
    cells = _cell_rows(plan, ledger, left, needs)
    found = [] if plan.complete else list(detectable_differences(plan, ledger, spread))
    stale = None if plan.complete else outdated(plan, ledger)
    sizes = _totals(plan, left)
    too_large = memory_fit.too_large(plan, [memory_here(here.cpus, here.gpus)])
    totals = {
        **sizes,
        "done": sum(row["done"] for row in cells),
        "from_other_studies": sum(row["from_others"] for row in cells),
        "fronts": fronts(plan),
        "outdated": dataclasses.asdict(stale) if stale is not None else None,
        "warnings": [
            *same_trials(plan),
            *_without_search(plan),
            *warnings(_untrained(plan)),
            *store_load.warnings(ledger.store, sizes["to_run"], sizes["wall_seconds"]),
            *(f"warning: does not fit here: {line}" for line in too_large),
        ],
        "detectable": [each.columns for each in found],
    }
    lines = [f"{plan.study}: {_summary(totals)}"]
    if left:
        lines.append(wall_time.description(left.values(), plan.space, here))
    lines += _largest(needs)
    lines += [str(stale)] if stale is not None else []
    lines += [*_remarks(plan, ledger, totals), *map(str, found)]
    return PlanSummary(plan.study, cells, totals, lines)


def stated_spread(text: str) -> Spread:
    """Return the spread that ``--spread`` states: of units, and of seeds and noise if given.

    Raises:
        ValueError: it is not one to three numbers of which the first is positive.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    valid = all(0 <= number < math.inf for number in numbers)
    if not (1 <= len(numbers) <= 3 and valid and numbers[0] > 0):
        raise ValueError(
            f"--spread {text!r} must be UNITS[,SEEDS[,NOISE]], standard deviations of a paired"
            " difference in Dice, e.g. 0.05,0.01"
        )
    return Spread(*numbers)


def _cell_rows(
    plan: Plan, ledger: Ledger, left: Remaining, needs: Mapping[str, MemoryNeed]
) -> list[dict[str, Any]]:
    """Return the counts, the cost and the memory of each cell."""
    states = Counter((t.cell.name, t.state) for t in plan.trials)
    done = [t for t in plan.trials if t.state == "done"]
    own = own_digests(plan, ledger) if done else set[str]()
    from_others = Counter(t.cell.name for t in done if t.digest not in own)
    to_run = Counter(key.cell for key in left)
    seconds = dict.fromkeys((cell.name for cell in plan.cells), 0.0)
    for key, trial in left.items():
        seconds[key.cell] += trial.cost.device_seconds
    return [
        {
            "cell": cell.name,
            "done": states[cell.name, "done"],
            "from_others": from_others[cell.name],
            "given_up": states[cell.name, "given up"],
            "to_run": to_run[cell.name],
            "workers": _workers(plan, cell),
            "device_seconds": round(seconds[cell.name], 1),
            "memory_bytes": needs[cell.name].most if cell.name in needs else None,
        }
        for cell in plan.cells
    ]


def _size(count: int | None) -> str | None:
    return None if count is None else binary_size(count)


def _largest(needs: Mapping[str, MemoryNeed]) -> Iterable[str]:
    """Yield the memory of the cell that needs most."""
    if needs:
        cell = max(needs, key=lambda name: needs[name].most)
        yield f"a worker of {cell} needs about {memory_fit.description(needs[cell])} on its device"


def _workers(plan: Plan, cell: Cell) -> str:
    """Return the workers of a cell's trials as text, those of the search first."""
    stages = {"search": workers_of(plan.space, cell, "search")} if cell.searched else {}
    stages["final"] = workers_of(plan.space, cell, "final")
    texts = {s: str(n) if isinstance(n, int) else f"{n[0]} to {n[1]}" for s, n in stages.items()}
    if len(set(texts.values())) == 1:
        return texts["final"]
    return ", ".join(f"{stage} {text}" for stage, text in texts.items())


def _totals(plan: Plan, left: Remaining) -> dict[str, Any]:
    """Return the size of the study and the cost of what is left."""
    costs, here = [trial.cost for trial in left.values()], wall_time.resources_here()
    low, wall, high = wall_time.interval(left.values(), wall_time.slots_of(plan.space, here))
    budget = plan.space.budget
    rates = budget.rates if budget is not None else dict[str, float]()
    money = sum(c.device_seconds / HOUR * price(c.device, rates) for c in costs)
    return {
        "configs": len(plan.trials) + plan.unknown,
        "left_out": left_out(plan.space),
        "to_run": len(left),
        "trainings": sum(trial.networks for trial in left.values()),
        "weights_bytes": sum(plan.kept.get(d, 0) for d in _trainings(plan)),
        "device_seconds": round(sum(c.device_seconds for c in costs), 1),
        "device_seconds_low": round(sum(c.low for c in costs), 1),
        "device_seconds_high": round(sum(c.high for c in costs), 1),
        "estimated_from": sorted({c.source for c in costs}),
        "money": round(money, 2) if rates else None,
        "wall_seconds": round(wall, 1),
        "wall_seconds_low": round(low, 1),
        "wall_seconds_high": round(high, 1),
        "cpus": here.cpus,
        "gpus": here.gpus,
    }


def _without_search(plan: Plan) -> Iterable[str]:
    """Yield a warning if a search has nothing to search."""
    if plan.space.search is not None and not any(cell.searched for cell in plan.cells):
        yield (
            "warning: search=Search(...) has no effect: no value is searched (Choice, Uniform,"
            " Integer)"
        )


def _summary(totals: Mapping[str, Any]) -> str:
    """Return the totals as one line."""
    others = totals["from_other_studies"]
    shared = f" ({others} of them trained for other studies)" if others else ""
    trials = plural(totals["configs"], "trial")
    text = f"{trials}, {totals['done']} done{shared}, {totals['to_run']} to run"
    if not totals["to_run"]:
        return text
    text += f" ({_readings(totals['to_run'], totals['trainings'])})"
    low, middle, high = (totals[f"device_seconds{end}"] for end in ("_low", "", "_high"))
    money = f", {totals['money']:g} of money" if totals["money"] is not None else ""
    return f"{text}, {approximately(low, middle, high)} of device time{money}"


def _readings(readings: int, trainings: int) -> str:
    """Return how many readings of how many trainings are left, as text.

    >>> _readings(12, 1), _readings(1, 0)
    ('12 readings of 1 training', '1 reading of kept weights')
    """
    of = plural(trainings, "training") if trainings else "kept weights"
    return f"{plural(readings, 'reading')} of {of}"


def _trainings(plan: Plan) -> set[str]:
    return {digest for t in plan.trials for digest in shared_trainings(t.config)}


def _untrained(plan: Plan) -> Iterable[Config]:
    """Yield the configs of the trials that are left, and an example of those to be suggested."""
    yield from (t.config for t in plan.pending)
    for name, example in plan.examples.items():
        if plan.suggestions_left.get(name) or plan.finals_waiting.get(name):
            yield example.search
            yield example.final


def _remarks(plan: Plan, ledger: Ledger, totals: Mapping[str, Any]) -> Iterable[str]:
    """Yield a line for each constraint, budget, task or search that needs attention."""
    yield from totals["warnings"]
    if totals["left_out"]:
        cells = plural(totals["left_out"], "more cell")
        yield f"left out because of a constraint: {cells}"
    yield from unread_trials(plan)
    if totals["weights_bytes"]:
        yield f"the store holds {size(totals['weights_bytes'])} of this study's weights"
    if plan.space.budget is not None:
        used = exhausted(plan.space.budget, spent(plan, ledger))
        yield f"the budget is spent: {used}" if used else "the budget is not spent"
    for name in plan.without_winner:
        yield f"{name}: no search trial finished within the limits, so none can be chosen"
    yield from ceilings(plan)
    for front in totals["fronts"]:
        chosen = ", chosen" if front["chosen"] else ""
        yield f"{front['cell']}: on the Pareto front {front['digest']} {front['values']}{chosen}"


def fronts(plan: Plan) -> list[dict[str, Any]]:
    """Return the Pareto front of each search with several objectives that is over."""
    search = plan.space.search
    if search is None or len(search.objectives) < 2:
        return []
    suggested = {t.digest: t.values for t in plan.trials if t.stage == "search"}
    finals = [t for t in plan.trials if t.stage == "final"]
    return [
        {
            "cell": cell,
            "digest": digest,
            "values": _measured(search.objectives, standings[digest].values),
            "chosen": any(t.cell.name == cell and t.values == suggested[digest] for t in finals),
        }
        for cell, standings in plan.standings.items()
        for digest in selection.front(standings)
    ]


def _measured(objectives: Iterable[str], values: Iterable[float]) -> dict[str, float]:
    """Return objective values as measured, without the sign that makes larger ones better."""
    return {
        text.removeprefix("-"): round(-value if text[:1] == "-" else value, 4)
        for text, value in zip(objectives, values, strict=True)
    }
