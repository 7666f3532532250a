"""The outcomes of the trials, reasons of failures, and trials that are not committed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.formatting import plural
from orchestrator.report.blocks import Block, Column, Note, Section, Table
from orchestrator.report.cell_names import CellNames, query

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 110
COLUMNS = (
    Column("outcome", "Outcome"),
    Column("task", "Task"),
    Column("mode", "Mode"),
    Column("digest", "Digest"),
    Column("reason", "Reason"),
)
MAX_NAMED = 50
"""Trials and cells that are listed by name; the counts cover all."""
UNSUCCESSFUL = ("failed", "diverged")


def section(tables: Catalog, names: CellNames) -> Section:
    """Return counts by outcome, the failed trials with reasons, and the uncommitted trials."""
    del names  # failed trials have no arm on the leaderboard
    rows = tables["trials"].to_pylist()
    outcomes = Counter(row["outcome"] for row in rows)
    lines = [f"{plural(count, 'trial')}: {outcome}" for outcome, count in sorted(outcomes.items())]
    committed = {row["digest"] for row in rows}
    declared = {row["digest"]: row["cell"] for row in tables["studies"].to_pylist()}
    missing = [cell for digest, cell in declared.items() if digest not in committed]
    if missing:
        counts = list(Counter(missing).items())[:MAX_NAMED]
        cells = ", ".join(f"{cell} ({count})" for cell, count in counts)
        lines.append(f"{plural(len(missing), 'trial')}: declared and not committed, of {cells}")
    blocks: list[Block] = [Note(lines or ["No trial is committed."], bullets=True)]
    unsuccessful = [row for row in rows if row["outcome"] in UNSUCCESSFUL]
    if unsuccessful:
        source = query(
            tables,
            "studies JOIN trials USING (digest)",
            "outcome IN ('failed', 'diverged')",
            columns="outcome, digest, reason",
        )
        total = len(unsuccessful)
        caption = f"The first {MAX_NAMED} of {total} trials." if total > MAX_NAMED else ""
        shown = unsuccessful[:MAX_NAMED]
        blocks.append(Table("failures", COLUMNS, shown, source, caption=caption))
    return Section("trials", "Trial outcomes", blocks)
