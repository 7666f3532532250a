"""The search trials: their parameter values and their validation scores."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.formatting import plural
from orchestrator.report import vega
from orchestrator.report.blocks import Block, Chart, Column, Fold, Note, Section, Table
from orchestrator.report.cell_names import CellNames, distinct, query, readable
from orchestrator.report.formats import as_text, decimals

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 100
MOST_CELLS = 8
"""Cells whose best values are listed above the table."""
COLUMNS = (
    Column("cell", "Cell"),
    Column("index", "Trial", as_text),
    Column("parameters", "Parameters"),
    Column("outcome", "Outcome"),
    Column("steps", "Steps", as_text),
    Column("score", "Validation Dice", decimals(3)),
)


def section(tables: Catalog, names: CellNames) -> Section | None:
    """Return a chart of all search trials, and a table with the best of each cell first."""
    rows = search_trials(tables)
    if not rows:
        return None
    source = query(
        tables,
        "studies JOIN trials USING (digest)",
        "stage = 'search'",
        columns="cell, index, searched, outcome, score",
    )
    points = [
        {
            "series": readable(r["cell"]),
            "name": r["parameters"],
            "at": r["index"],
            "value": r["score"],
        }
        for r in rows
        if r["score"] is not None
    ]
    chart = Chart(
        "searched-scores",
        "Validation Dice of the search trials",
        f"{plural(len(points), 'trial')} of {plural(len(distinct(points)), 'cell')}",
        f"Each point is one search trial (one training run, so it has no interval);"
        f" n = {len(points)}.",
        source,
        vega.scatter(
            vega.styles(distinct(points)),
            vega.quantitative("index of the trial"),
            vega.quantitative("validation Dice", zero=False),
        ),
        points,
        wide=True,
    )
    blocks: list[Block] = [
        Note(["The values that the search chose for the final trials:"]),
        Note(_at_most(MOST_CELLS, _chosen(tables, rows)), bullets=True),
        Note(_without_search(tables, names, rows)),
        Fold(f"All {len(rows)} search trials", [chart, Table("searched", COLUMNS, rows, source)]),
    ]
    return Section("searched", "Parameter search", blocks, distinct(points))


def _chosen(tables: Catalog, rows: list[dict[str, Any]]) -> list[str]:
    """Return a sentence per searched cell on the values of its final trials, if it has any yet."""
    final = {
        (row["study"], row["cell"]): _parameters(row["searched"])
        for row in tables["studies"].to_pylist()
        if row["stage"] == "final"
    }
    several = len({row["study"] for row in rows}) > 1
    by_cell: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_cell.setdefault((row["study"], row["cell"]), []).append(row)
    listed: list[str] = []
    for (study, cell), trials in by_cell.items():
        name = f"{study}: {readable(cell)}" if several else readable(cell)
        same = [row for row in trials if row["parameters"] == final.get((study, cell))]
        if not same:
            listed.append(f"{name}: none yet, of {plural(len(trials), 'trial')}.")
            continue
        score = f"validation Dice {decimals(3)(same[0]['score'])}"
        of = f"one of {plural(len(trials), 'trial')}"
        listed.append(f"{name}: {same[0]['parameters']} ({score}, {of}).")
    return listed


def _at_most(count: int, lines: list[str]) -> list[str]:
    """Return so many lines, and how many more there are."""
    more = len(lines) - count
    return lines if more <= 0 else [*lines[:count], f"{plural(more, 'more cell')}."]


def _without_search(tables: Catalog, names: CellNames, rows: list[dict[str, Any]]) -> list[str]:
    """Return a sentence on the networks that had no search, which a comparison has to consider."""
    searched = {(row["study"], row["cell"]) for row in rows}
    others = dict.fromkeys(
        names(row["study"], row["cell"])
        for row in tables["leaderboard"].to_pylist()
        if (row["study"], row["cell"]) not in searched and not names.is_trivial(row)
    )
    if not others:
        return []
    return [f"Trained without a search, with the settings of the study: {', '.join(others)}."]


def search_trials(tables: Catalog) -> list[dict[str, Any]]:
    """Return a row per committed search trial; within a cell, the best score is first."""
    trials = {row["digest"]: row for row in tables["trials"].to_pylist()}
    rows: list[dict[str, Any]] = []
    for declared in tables["studies"].to_pylist():
        trial = trials.get(declared["digest"])
        if declared["stage"] == "search" and trial is not None:
            result = {key: trial[key] for key in ("outcome", "score", "steps")}
            identity = {key: declared[key] for key in ("study", "cell", "index", "digest")}
            rows.append({**identity, **result, "parameters": _parameters(declared["searched"])})

    def rank(row: dict[str, Any]) -> tuple[str, str, float]:
        return row["study"], row["cell"], -(-1.0 if row["score"] is None else row["score"])

    return sorted(rows, key=rank)


def _parameters(searched: str) -> str:
    """Return the searched values, a JSON object by path, as ``shift -1.2, t_low 0.05``."""
    return ", ".join(
        f"{path.rpartition('.')[2]} {f'{value:.3g}' if isinstance(value, float) else value}"
        for path, value in sorted(json.loads(searched).items())
    )
