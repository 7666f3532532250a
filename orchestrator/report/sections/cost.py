"""Accuracy and calibration against cost: network passes and training time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.formatting import plural
from orchestrator.report import vega
from orchestrator.report.blocks import Block, Chart, Note, Section, first_charts
from orchestrator.report.cell_names import CellNames, query, readable
from orchestrator.report.formats import interval_name

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 70


class Cost(NamedTuple):
    """A cost in the view ``pareto``."""

    column: str
    flag: str
    """The suffix of the columns that flag membership of the Pareto front."""
    title: str
    decades: int
    """The range of the axis: without a limit, baselines without training would compress it."""


COSTS = (
    Cost("passes_per_image", "passes", "passes per image", 4),
    Cost("train_device_seconds", "training", "device-seconds of training", 2),
)
MOST_CHARTS = 3
"""Charts that are not folded: a row of the page."""
METRICS = (("dice", "Dice"), ("ece", "ECE"))
NOTE = (
    "The line joins the Pareto front: the arms that no other arm exceeds in metric and cost at"
    " once. Costs have a logarithmic axis; arms below 1/10,000 of the largest number of passes,"
    " or below 1/100 of the longest training, lie on its left edge."
)


def section(tables: Catalog, names: CellNames) -> Section | None:
    """Return Dice and ECE against each cost per task, where arms differ in the cost."""
    rows = names.add_series(tables["pareto"].to_pylist())
    charts = [
        _chart(tables, names, arms, metric, cost)
        for metric in METRICS
        for cost in COSTS
        for arms in ([r for r in rows if r["task"] == task] for task in names.tasks)
        if len({r[cost.column] for r in arms if r[cost.column]}) > 1
    ]
    if not charts:
        return None
    blocks: list[Block] = [
        Note([NOTE]),
        *first_charts(charts, MOST_CHARTS, plural(len(charts) - MOST_CHARTS, "more chart")),
    ]
    return Section("cost", "Accuracy and calibration against cost", blocks, [*names.styles(rows)])


def _chart(
    tables: Catalog,
    names: CellNames,
    arms: list[dict[str, Any]],
    metric: tuple[str, str],
    cost: Cost,
) -> Chart:
    column, title = metric
    task, flag = arms[0]["task"], f"{column}_{cost.flag}"
    rows = [
        {
            "series": row["series"],
            "name": row["series"],
            "at": row[cost.column],
            "value": row[column],
            "low": row[f"{column}_low"],
            "high": row[f"{column}_high"],
            "front": row[flag],
        }
        for row in arms
        if row[column] is not None and row[cost.column]
    ]
    front = sorted((row for row in rows if row["front"]), key=lambda row: row["at"])
    listed = ", ".join(row["series"] for row in front)
    costs = [row["at"] for row in rows]
    return Chart(
        f"cost-{task}-{column}-{cost.column}",
        f"{readable(task)}: {title} against {cost.title}",
        f"On the Pareto front, by increasing cost: {listed}",
        f"Bars are {interval_name(arms, column)} as in the leaderboard. On the Pareto front:"
        f" {listed}.",
        query(
            tables,
            "pareto",
            f"task = '{task}'",
            columns=f"arm, {cost.column}, {column}, {column}_low, {column}_high, {flag}",
        ),
        vega.pareto_front(
            names.styles(rows), vega.logarithmic(cost.title, costs, cost.decades), title
        ),
        rows,
        small=True,
    )
