"""What accuracy and calibration cost: passes, seconds, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.report import vega
from orchestrator.report.blocks import Block, Chart, Note, Section
from orchestrator.report.naming import Naming, query, spaced

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 70
COSTS = (
    ("passes_per_image", "passes", "network passes per image", 4),
    ("train_device_seconds", "training", "device-seconds of training", 2),
)
"""Columns of the view ``pareto``, what its flags end in, their words, and the decades to show: what
needs no training would push what does into a corner."""
METRICS = (("dice", "Dice"), ("ece", "ECE"))
TOLD = (
    "The line joins what nothing else beats at its price (the Pareto front); where one arm is both"
    " best and cheapest there is no line. Costs are on a logarithmic axis; passes"
    " under a ten-thousandth and training under a hundredth of the dearest lie on the left edge."
)


def section(tables: Catalog, naming: Naming) -> Section | None:
    """Per task, Dice and ECE against two costs, where arms differ in them."""
    rows = naming.of(tables["pareto"].to_pylist())
    charts = [
        _chart(tables, naming, [r for r in rows if r["task"] == task], metric, cost)
        for task in naming.tasks
        for metric in METRICS
        for cost in COSTS
        if len({r[cost[0]] for r in rows if r["task"] == task and r[cost[0]]}) > 1
    ]
    if not charts:
        return None
    blocks: list[Block] = [Note([TOLD]), *charts]
    return Section("cost", "Cost", blocks, list(naming.looks(rows)))


def _chart(
    tables: Catalog,
    naming: Naming,
    mine: list[dict[str, Any]],
    metric: tuple[str, str],
    cost: tuple[str, str, str, int],
) -> Chart:
    (name, title), (price, ending, priced, decades) = metric, cost
    task, flag = mine[0]["task"], f"{name}_{ending}"
    rows = [
        {
            "series": row["series"],
            "name": row["series"],
            "at": row[price],
            "value": row[name],
            "low": row[f"{name}_low"],
            "high": row[f"{name}_high"],
            "front": row[flag],
        }
        for row in mine
        if row[name] is not None and row[price]
    ]
    ahead = sorted((row for row in rows if row["front"]), key=lambda row: row["at"])
    best = ", ".join(row["series"] for row in ahead)
    return Chart(
        f"cost-{task}-{name}-{price}",
        f"{spaced(task)}: {title} against {priced}",
        f"On the front, from cheap to dear: {best}",
        f"95 % intervals, as in the leaderboard. On the front: {best}.",
        query(
            tables,
            "pareto",
            f"task = '{task}'",
            columns=f"arm, {price}, {name}, {name}_low, {name}_high, {flag}",
        ),
        vega.front(
            naming.looks(rows), vega.logarithmic(priced, [r["at"] for r in rows], decades), title
        ),
        rows,
    )
