"""What each reading of a network is worth: its sample, other outputs, and controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.heldout.rows import BOUNDARY, SAMPLE
from orchestrator.report.blocks import Column, Note, Section, Table, fixed, text
from orchestrator.report.naming import Naming, query, spaced

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 80
COLUMNS = (
    Column("task", "Task"),
    Column("series", "Arm"),
    Column("reading", "Reading"),
    Column("dice", "Dice ↑", fixed(3), interval=True),
    Column("iou", "IoU ↑", fixed(3), interval=True),
    Column("ece", "ECE ↓", fixed(3), interval=True),
    Column("seeds", "Seeds", text),
    Column("images", "Cases", text),
    Column("groups", "Groups", text),
)
TOLD = (
    "The sample is what the leaderboard compares. Auxiliary: another output of the same network;"
    " blend: both together. The others are the sample under a control: where one is as good as the"
    " sample, what it took away was not needed."
)


def section(tables: Catalog, naming: Naming) -> Section | None:
    """Every reading of the arms that have more than their sample."""
    rows = [r for r in tables["readings"].to_pylist() if r["reading"] != BOUNDARY]
    several = {(r["study"], r["cell"]) for r in rows if r["reading"] != SAMPLE}
    rows = [
        {**row, "reading": spaced(row["reading"])}
        for row in naming.of(rows)
        if (row["study"], row["cell"]) in several
    ]
    if not rows:
        return None
    table = Table("readings", COLUMNS, rows, query(tables, "readings"))
    return Section("readings", "Readings", [Note([TOLD]), table])
