"""``segprint plan``: what a sweep would run, what is done, what it should take."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter
from typing import Any

import search_spaces
from cluster.local import usable_cpus
from orchestrator.commands import emit, ledger_of
from orchestrator.estimate import Estimator, wall_seconds
from orchestrator.plan import plan
from orchestrator.screen import clock, remaining


def main(options: Namespace) -> int:
    """Print one line per cell, and the totals. Writes nothing to the store."""
    ledger = ledger_of(options)
    made = plan(*search_spaces.load(options.space), ledger)
    left = remaining(made, Estimator(ledger))
    states = Counter((t.cell.name, t.state) for t in made.trials)
    costs: dict[str, list[float]] = {}
    for place, (seconds, _) in left.items():
        costs.setdefault(place.partition(" ")[0], []).append(seconds)
    rows: list[dict[str, Any]] = [
        {
            "cell": cell.name,
            "done": states[cell.name, "done"],
            "given_up": states[cell.name, "given up"],
            "to_run": len(costs.get(cell.name, [])),
            "device_seconds": round(sum(costs.get(cell.name, [])), 1),
        }
        for cell in made.cells
    ]
    wall = wall_seconds(left.values(), usable_cpus())
    totals = {
        "done": sum(r["done"] for r in rows),
        "to_run": len(left),
        "device_seconds": round(sum(r["device_seconds"] for r in rows), 1),
        "wall_seconds": round(wall, 1),
        "cpus": usable_cpus(),
    }
    if options.json:
        print(json.dumps({"study": made.study, "cells": rows, **totals}, indent=1))
        return 0
    emit(rows, {k: k.replace("_", " ") for k in rows[0]}, False)
    print(
        f"\n{made.study}: {totals['done']} done, {totals['to_run']} to run,"
        f" about {clock(totals['device_seconds'])} of device time,"
        f" {clock(wall)} on {totals['cpus']} CPUs here"
    )
    for name in made.hopeless:
        print(f"{name}: no search trial finished, so nothing can be chosen")
    return 0
