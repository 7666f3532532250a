"""What accuracy and calibration cost: passes, seconds, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.report import vega
from orchestrator.report.blocks import Block, Chart, Note, Section
from orchestrator.report.naming import Naming, query, spaced

if TYPE_CHECKING:
    from orchestrator.tables import Tables

PLACE = 70
COSTS = (
    ("passes_per_image", "network passes per image"),
    ("train_device_seconds", "device-seconds of training"),
)
METRICS = (("dice", "Dice", -1), ("ece", "ECE", 1))
TOLD = (
    "The line joins what nothing else beats at its price (the Pareto front); where one arm is both"
    " best and cheapest there is no line. Costs are on a logarithmic axis; what is cheaper than a"
    " ten-thousandth of the dearest lies on the left edge."
)


def section(tables: Tables, naming: Naming) -> Section | None:
    """Per task, Dice and ECE against two costs, where arms differ in them."""
    board = naming.of(tables["leaderboard"].to_pylist())
    charts = [
        _chart(tables, naming, board, task, metric, cost)
        for task in naming.tasks
        for metric in METRICS
        for cost in COSTS
        if len({r[cost[0]] for r in board if r["task"] == task and r[cost[0]]}) > 1
    ]
    if not charts:
        return None
    blocks: list[Block] = [Note([TOLD]), *charts]
    return Section("cost", "Cost", blocks, list(naming.looks(board)))


def _chart(
    tables: Tables,
    naming: Naming,
    board: list[dict[str, Any]],
    task: str,
    metric: tuple[str, str, int],
    cost: tuple[str, str],
) -> Chart:
    (name, title, sign), (price, priced) = metric, cost
    there = [r for r in board if r["task"] == task and r[name] is not None and r[price]]
    ahead = front([(r[price], sign * r[name]) for r in there])
    rows = [
        {
            "series": row["series"],
            "name": row["series"],
            "at": row[price],
            "value": row[name],
            "low": row[f"{name}_low"],
            "high": row[f"{name}_high"],
            "front": i in ahead,
        }
        for i, row in enumerate(there)
    ]
    best = [str(rows[i]["series"]) for i in ahead]
    return Chart(
        f"cost-{task}-{name}-{price}",
        f"{spaced(task)}: {title} against {priced}",
        f"On the front, from cheap to dear: {', '.join(best)}",
        f"95 % intervals over {there[0]['images'] if there else 0} cases and their seeds. On the"
        f" front: {', '.join(best)}.",
        query(
            tables,
            "leaderboard",
            f"task = '{task}'",
            columns=f"arm, {price}, {name}, {name}_low, {name}_high",
        ),
        vega.front(naming.looks(rows), vega.logarithmic(priced, [r["at"] for r in rows]), title),
        rows,
    )


def front(points: list[tuple[float, float]]) -> list[int]:
    """Which points no other beats in both (less is better), from the first coordinate's least.

    >>> front([(1, 5), (2, 3), (3, 4), (4, 1)])
    [0, 1, 3]
    """
    found: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if not found or points[i][1] < points[found[-1]][1]:
            found.append(i)
    return found
