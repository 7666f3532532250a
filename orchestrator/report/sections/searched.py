"""What was searched: every value that was tried, and how it went."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.report import vega
from orchestrator.report.blocks import Block, Chart, Column, Section, Table, fixed, text
from orchestrator.report.naming import Naming, ordered, query, spaced

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 100
COLUMNS = (
    Column("cell", "Cell"),
    Column("index", "Trial", text),
    Column("tried", "Values"),
    Column("outcome", "Outcome"),
    Column("steps", "Steps", text),
    Column("score", "Validation Dice", fixed(3)),
)

SCORE = vega.number("validation Dice", zero=False)


def section(tables: Catalog, naming: Naming) -> Section | None:
    """A chart of all trials by number, and the table, best first within a cell."""
    del naming  # searched trials are not final: they have no arm on the leaderboard
    rows = trials(tables)
    if not rows:
        return None
    source = query(
        tables,
        "studies JOIN trials USING (digest)",
        "stage = 'search'",
        columns="cell, index, searched, outcome, score",
    )
    points = [
        {"series": spaced(r["cell"]), "name": r["tried"], "at": r["index"], "value": r["score"]}
        for r in rows
        if r["score"] is not None
    ]
    chart = Chart(
        "searched-scores",
        "Validation Dice of the searched trials",
        f"{len(points)} trials of {len(ordered(points))} cells",
        f"One point per trial, without an interval: each is one training run, n = {len(points)}.",
        source,
        vega.points(vega.looks(ordered(points)), vega.number("number of the trial"), SCORE),
        points,
        wide=True,
    )
    table = Table("searched", COLUMNS, rows, source, folded=f"All {len(rows)} searched trials")
    blocks: list[Block] = [chart, table]
    return Section("searched", "Searched values", blocks, ordered(points))


def trials(tables: Catalog) -> list[dict[str, Any]]:
    """Every searched trial: what was tried, and how it went; best first within a cell."""
    committed = {row["digest"]: row for row in tables["trials"].to_pylist()}
    found: list[dict[str, Any]] = []
    for row in tables["studies"].to_pylist():
        trial = committed.get(row["digest"])
        if row["stage"] == "search" and trial is not None:
            values = json.loads(row["searched"])
            shown = ", ".join(
                f"{path.rpartition('.')[2]} {f'{v:.3g}' if isinstance(v, float) else v}"
                for path, v in sorted(values.items())
            )
            told = {key: trial[key] for key in ("outcome", "score", "steps")}
            named = {key: row[key] for key in ("study", "cell", "index", "digest")}
            found.append({**named, **told, "tried": shown})
    return sorted(found, key=lambda r: (r["study"], r["cell"], -(r["score"] or -1.0)))
