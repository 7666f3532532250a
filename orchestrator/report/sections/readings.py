"""Outputs of a network other than its sample, and the sample under controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.heldout.rows import BOUNDARY, SAMPLE
from orchestrator.report.blocks import Column, Note, Section, Table
from orchestrator.report.cell_names import CellNames, query, readable
from orchestrator.report.formats import as_text, decimals

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 80
COLUMNS = (
    Column("task", "Task"),
    Column("series", "Arm"),
    Column("reading", "Reading"),
    Column("dice", "Dice ↑", decimals(3), interval=True),
    Column("iou", "IoU ↑", decimals(3), interval=True),
    Column("ece", "ECE ↓", decimals(3), interval=True),
    Column("seeds", "Seeds", as_text),
    Column("images", "Cases", as_text),
    Column("groups", "Groups", as_text),
)
NOTE = (
    "The leaderboard compares the sample. “Auxiliary” is another output of the same network, and"
    " “blend” combines it with the sample. All other readings are the sample under a control: where"
    " a control scores as high as the sample, the network did not need what the control removed."
)


def section(tables: Catalog, names: CellNames) -> Section | None:
    """Return all readings of the arms that have others than their sample."""
    rows = [r for r in tables["readings"].to_pylist() if r["reading"] != BOUNDARY]
    with_others = {(r["study"], r["cell"]) for r in rows if r["reading"] != SAMPLE}
    rows = [
        {**row, "reading": readable(row["reading"])}
        for row in names.add_series(rows)
        if (row["study"], row["cell"]) in with_others
    ]
    if not rows:
        return None
    table = Table("readings", COLUMNS, rows, query(tables, "readings"))
    return Section("readings", "Auxiliary outputs and controls", [Note([NOTE]), table])
