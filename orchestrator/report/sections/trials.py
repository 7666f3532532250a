"""How the trials ended, and what is missing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.report.blocks import Block, Column, Note, Section, Table
from orchestrator.report.naming import Naming, query

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
SHOWN = 50
"""Trials by name; the counts have all."""


def section(tables: Catalog, naming: Naming) -> Section:
    """Counts by outcome; what failed, with its reason; what was declared and is not there."""
    del naming  # by digest: what failed has no arm on the leaderboard
    rows = tables["trials"].to_pylist()
    declared = tables["studies"].to_pylist()
    counted = Counter(row["outcome"] for row in rows)
    lines = [f"{count} {outcome}" for outcome, count in sorted(counted.items())]
    left = {d["digest"]: d for d in declared if d["digest"] not in {r["digest"] for r in rows}}
    if left:
        cells = Counter(d["cell"] for d in left.values())
        some = ", ".join(f"{cell} ({count})" for cell, count in list(cells.items())[:SHOWN])
        lines.append(f"{len(left)} declared and not committed yet: {some}")
    blocks: list[Block] = [Note(lines or ["Nothing is committed yet."], bullets=True)]
    bad = [row for row in rows if row["outcome"] in ("failed", "diverged")]
    if bad:
        source = query(
            tables,
            "studies JOIN trials USING (digest)",
            "outcome IN ('failed', 'diverged')",
            columns="outcome, digest, reason",
        )
        cut = f"The first {SHOWN} of {len(bad)}" if len(bad) > SHOWN else ""
        blocks.append(Table("failures", COLUMNS, bad[:SHOWN], source, caption=cut))
    return Section("trials", "Failures, and what is missing", blocks)
