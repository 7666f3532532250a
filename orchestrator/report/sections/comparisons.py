"""What changing one thing changes: arms in pairs, over the same cases and seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.report import vega
from orchestrator.report.blocks import (
    Block,
    Chart,
    Column,
    Note,
    Section,
    Table,
    fixed,
    p_value,
    text,
)
from orchestrator.report.naming import Naming, ordered, query, spaced

if TYPE_CHECKING:
    from orchestrator.tables import Tables

PLACE = 40
COLUMNS = (
    Column("task", "Task"),
    Column("metric", "Metric"),
    Column("name", "One less the other"),
    Column("difference", "Difference", fixed(3), interval=True),
    Column("better", "Better in", text),
    Column("wilcoxon_p", "p, Wilcoxon", p_value),
    Column("p_holm", "p, Holm", p_value),
    Column("seeds", "Seeds", text),
    Column("images", "Cases", text),
)
SHOWN = 15
"""Pairs per chart: those with the largest differences."""
CLEAR, UNCLEAR = "the interval excludes zero", "the interval includes zero"
TOLD = (
    "Each pair over the cases and seeds that both have, so what they share cancels; 95 % bootstrap"
    " intervals over cases and seeds. Wilcoxon's signed-rank test is over cases (each the mean of"
    " its seeds), adjusted by Holm over all pairs of a study, task and metric."
)


def section(tables: Tables, naming: Naming) -> Section | None:
    """A forest of Dice differences per task, and the table of all; nothing without a pair."""
    rows = [
        {
            **row,
            "name": f"{naming(row['study'], row['cell'])} − {naming(row['study'], row['against'])}",
        }
        for row in tables["ablation"].to_pylist()
    ]
    if not rows:
        return None
    charts = [_forest(tables, rows, task) for task in ordered(rows, "task")]
    every = Table(
        "comparisons",
        COLUMNS,
        rows,
        query(tables, "ablation"),
        folded=f"All {len(rows)} comparisons",
    )
    blocks: list[Block] = [Note([TOLD]), *charts, every]
    return Section("comparisons", "Comparisons in pairs", blocks)


def _forest(tables: Tables, rows: list[dict[str, Any]], task: str) -> Chart:
    mine = [r for r in rows if r["task"] == task and r["metric"] == "dice"]
    mine.sort(key=lambda r: -abs(r["difference"]))
    kept = sorted(mine[:SHOWN], key=lambda r: -r["difference"])
    shown = [
        {
            "name": row["name"],
            "series": CLEAR if row["difference_low"] * row["difference_high"] > 0 else UNCLEAR,
            "value": row["difference"],
            "low": row["difference_low"],
            "high": row["difference_high"],
            "images": row["images"],
        }
        for row in kept
    ]
    cut = f" The {SHOWN} largest of {len(mine)} differences." if len(mine) > SHOWN else ""
    counts = f"{mine[0]['images']} cases and {mine[0]['seeds']} seeds" if mine else "no cases"
    return Chart(
        f"comparison-{task}-dice",
        f"{spaced(task)}: differences in Dice",
        "; ".join(f"{r['name']} {r['value']:+.3f}" for r in shown[:4]),
        f"95 % intervals over {counts}; colour and shape: whether it excludes zero.{cut}",
        query(tables, "ablation", f"task = '{task}'", "metric = 'dice'"),
        vega.intervals([CLEAR, UNCLEAR], vega.number("difference in Dice"), len(shown), zero=True),
        shown,
    )
