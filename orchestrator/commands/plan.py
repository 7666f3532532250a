"""``segprint plan``: what a sweep would run, what is done, what it should take."""

from __future__ import annotations

import dataclasses
import json
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import search_spaces
from cluster.local import usable_cpus
from orchestrator.commands import emit, ledger_of, limited
from orchestrator.formatting import clock
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning import selection
from orchestrator.planning.cells import left_out
from orchestrator.planning.cost import Estimator, RemainingTrial, TrialKey, remaining, wall_seconds
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.planning.stale_configs import outdated
from orchestrator.sweep import budget
from orchestrator.sweep.budget import HOUR, own_digests, spent


def main(options: Namespace) -> int:
    """Print one line per cell, and the totals. Writes nothing to the store."""
    ledger = ledger_of(options)
    study, space = search_spaces.load(options.space)
    made = make_plan(study, limited(space, options.most), ledger)
    left = remaining(made, Estimator(ledger))
    rows, totals = _cells(made, ledger, left), _totals(made, left)
    totals["done"] = sum(row["done"] for row in rows)
    totals["from_other_studies"] = sum(row["from_others"] for row in rows)
    totals["fronts"] = fronts(made)
    old = None if made.complete else outdated(made, ledger)
    totals["outdated"] = dataclasses.asdict(old) if old is not None else None
    if options.json:
        print(json.dumps({"study": study, "cells": rows, **totals}, indent=1))
        return 0
    emit(rows, {k: k.replace("_", " ") for k in rows[0]}, False)
    print(f"\n{study}: {_said(totals)}")
    if totals["left_out"]:
        print(f"{totals['left_out']} more cells break a constraint and are left out")
    if old is not None:
        print(old)
    if space.budget is not None:
        used = budget.exhausted(space.budget, spent(made, ledger))
        print(f"the budget is spent: {used}" if used else "the budget is not spent")
    for name in made.without_winner:
        print(f"{name}: no search trial finished within the limits, so nothing can be chosen")
    for front in totals["fronts"]:
        chosen = ", chosen" if front["chosen"] else ""
        print(f"{front['cell']}: on the Pareto front {front['digest']} {front['values']}{chosen}")
    return 0


def _cells(
    made: Plan, ledger: Ledger, left: Mapping[TrialKey, RemainingTrial]
) -> list[dict[str, Any]]:
    states = Counter((t.cell.name, t.state) for t in made.trials)
    done = [t for t in made.trials if t.state == "done"]
    mine = own_digests(made, ledger) if done else set[str]()
    others = Counter(t.cell.name for t in done if t.digest not in mine)
    costs: dict[str, list[float]] = {}
    for key, (cost, _) in left.items():
        costs.setdefault(key.cell, []).append(cost.device_seconds)
    return [
        {
            "cell": cell.name,
            "done": states[cell.name, "done"],
            "from_others": others[cell.name],
            "given_up": states[cell.name, "given up"],
            "to_run": len(costs.get(cell.name, [])),
            "device_seconds": round(sum(costs.get(cell.name, [])), 1),
        }
        for cell in made.cells
    ]


def _totals(made: Plan, left: Mapping[TrialKey, RemainingTrial]) -> dict[str, Any]:
    costs = [cost for cost, _ in left.values()]
    wall = wall_seconds(
        ((c.device_seconds, workers) for c, workers in left.values()), usable_cpus()
    )
    rates = made.space.budget.rates if made.space.budget is not None else {}
    money = sum(c.device_seconds / HOUR * budget.price(c.device, rates) for c in costs)
    return {
        "configs": len(made.trials) + made.unknown,
        "left_out": left_out(made.space),
        "to_run": len(left),
        "device_seconds": round(sum(c.device_seconds for c in costs), 1),
        "device_seconds_low": round(sum(c.low for c in costs), 1),
        "device_seconds_high": round(sum(c.high for c in costs), 1),
        "estimated_from": sorted({c.source for c in costs}),
        "money": round(money, 2) if rates else None,
        "wall_seconds": round(wall, 1),
        "cpus": usable_cpus(),
    }


def _said(totals: dict[str, Any]) -> str:
    others = totals["from_other_studies"]
    shared = f" ({others} of them trained for other studies)" if others else ""
    text = f"{totals['configs']} trials, {totals['done']} done{shared}, {totals['to_run']} to run"
    if not totals["to_run"]:
        return text
    ends = f"{clock(totals['device_seconds_low'])} to {clock(totals['device_seconds_high'])}"
    money = f", {totals['money']:g} of money" if totals["money"] is not None else ""
    return (
        f"{text}, about {clock(totals['device_seconds'])} of device time ({ends}){money},"
        f" {clock(totals['wall_seconds'])} on {totals['cpus']} CPUs here"
    )


def fronts(made: Plan) -> list[dict[str, Any]]:
    """Of searches by several objectives that are over, the trials that none other beats."""
    search = made.space.search
    if search is None or len(search.objectives) < 2:
        return []
    tried = {t.digest: t.values for t in made.trials if t.stage == "search"}
    finals = [t for t in made.trials if t.stage == "final"]
    return [
        {
            "cell": cell,
            "digest": digest,
            "values": _values(search.objectives, known[digest].values),
            "chosen": any(t.cell.name == cell and t.values == values for t in finals),
        }
        for cell, known in made.standings.items()
        for digest in selection.front(known)
        for values in [tried[digest]]
    ]


def _values(objectives: Iterable[str], values: Iterable[float]) -> dict[str, float]:
    """As they were measured, without the sign that makes more better."""
    return {
        text.removeprefix("-"): round(-value if text[:1] == "-" else value, 4)
        for text, value in zip(objectives, values, strict=True)
    }
