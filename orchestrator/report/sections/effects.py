"""Effects of factors: the mean of each level, and its difference to the baseline's level."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.heldout.baselines import factor_values
from orchestrator.heldout.paired import advantage
from orchestrator.report.blocks import Block, Column, Note, Section, Table, folded
from orchestrator.report.cell_names import CellNames, query, readable
from orchestrator.report.formats import as_text, decimals, interval_name, p_value
from orchestrator.statistics.verdicts import comparison

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 12
COLUMNS = (
    Column("task", "Task"),
    Column("factor", "Factor"),
    Column("level", "Level"),
    Column("value", "Mean", decimals(3), interval=True),
    Column("difference", "Difference to baseline", decimals(3), interval=True),
    Column("p_holm", "p (Holm)", p_value),
    Column("verdict", "Verdict"),
    Column("cells", "Cells", as_text),
    Column("seeds", "Seeds", as_text),
)
METRICS = {"dice": "Dice", "ece": "ECE"}
NOTE = (
    "How much each setting of the study matters: the mean over all cells at a level, whatever their"
    " other settings, and the mean difference to the baseline's level over the pairs of cells that"
    " are equal otherwise. Brackets are {intervals}; p is adjusted by Holm's method over the"
    " differences of one task and metric. Factors whose levels lack some cells of the others are in"
    " the view effects only."
)
Network = tuple[str, str, dict[str, str]]
"""The study and the task of a trained cell, and its settings by path."""
BASELINE = "baseline"
TITLE = "Effect of each setting"


def section(tables: Catalog, names: CellNames) -> Section | None:
    """Return a table of Dice per level of the crossed factors, and one of ECE that is folded."""
    board = tables["leaderboard"].to_pylist()
    networks = [
        (row["study"], row["task"], dict(factor_values(json.loads(row["settings"] or "{}"))))
        for row in board
        if not names.is_trivial(row)
    ]
    rows = [{**row, **texts(row)} for row in crossed(tables["effects"].to_pylist(), networks)]
    if not rows:
        return None
    by_metric = {name: [row for row in rows if row["metric"] == name] for name in METRICS}
    dice, ece = (
        Table(f"effects-{metric}", COLUMNS, found, query(tables, "effects", f"metric = '{metric}'"))
        for metric, found in by_metric.items()
    )
    note = NOTE.format(intervals=interval_name(by_metric["dice"] or by_metric["ece"], "value"))
    blocks: list[Block] = [Note([note]), *([dice] if dice.rows else [])]
    return Section(
        "effects", TITLE, [*blocks, *folded("Effects on ECE", [ece] if ece.rows else [])]
    )


def crossed(rows: Iterable[dict[str, Any]], networks: Sequence[Network]) -> list[dict[str, Any]]:
    """Return the factors of networks whose levels all have the same cells otherwise.

    Only then do the means of two levels differ by the factor alone.
    """
    factors: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("study", "task", "metric", "factor"))
        factors.setdefault(key, []).append(row)
    return [
        row
        for levels in factors.values()
        if len({level["cells"] for level in levels}) == 1
        and all(r["pairs"] == r["cells"] for r in levels if r["level"] != r["baseline"])
        and all(any(_has(network, level) for network in networks) for level in levels)
        for row in levels
    ]


def _has(network: Network, level: Mapping[str, Any]) -> bool:
    """Return whether a network has the level's values of the factor."""
    study, task, settings = network
    values = ", ".join(settings.get(path, "") for path in level["factor"].split(", "))
    return (study, task, values) == (level["study"], level["task"], level["level"])


def texts(row: dict[str, Any]) -> dict[str, str]:
    """Return the task for display, and the verdict on the difference to the baseline."""
    is_base = row["level"] == row["baseline"]
    return {
        "task": readable(row["task"]),
        "verdict": BASELINE if is_base else comparison(advantage(row)),
    }
