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
from orchestrator.report.naming import Naming, ordered, query, sized, spaced
from orchestrator.statistics.bootstrap import FEWEST

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 40
COLUMNS = (
    Column("task", "Task"),
    Column("metric", "Metric"),
    Column("name", "One less the other"),
    Column("difference", "Difference", fixed(3), interval=True),
    Column("better", "Better in", text),
    Column("p", "p", p_value),
    Column("p_holm", "p, Holm", p_value),
    Column("seeds", "Seeds", text),
    Column("images", "Cases", text),
    Column("groups", "Groups", text),
)
SHOWN = 15
"""Pairs per chart: those with the largest differences."""
CLEAR, UNCLEAR = "the interval excludes zero", "the interval includes zero"
TOLD = (
    "Each pair over the cases and seeds that both have, so what they share cancels; 95 % bootstrap"
    " intervals over units and seeds. A unit is a group of cases (a patient, slide or slab), or a"
    f" case where there are fewer than {FEWEST} groups: then cases of one patient count as"
    " independent, and p is too small. p is of Wilcoxon's signed-rank test over units, each the"
    " mean of its seeds, and of metrics pooled over pixels (ECE, Brier) of a test that exchanges"
    " the two arms unit by unit; adjusted by Holm over all pairs of a study, task and metric."
)


def section(tables: Catalog, naming: Naming) -> Section | None:
    """A forest of Dice differences per task, and the table of all; nothing without a pair."""
    rows = [
        {
            **row,
            "p": row["permutation_p"] if row["wilcoxon_p"] is None else row["wilcoxon_p"],
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
    blocks: list[Block] = [
        Note([TOLD]),
        *charts,
        *_ranks(tables),
        every,
        *_interactions(tables),
    ]
    return Section("comparisons", "Comparisons in pairs", blocks)


def _forest(tables: Catalog, rows: list[dict[str, Any]], task: str) -> Chart:
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
    counts = f"{sized(mine[0])} and {mine[0]['seeds']} seeds" if mine else "no cases"
    return Chart(
        f"comparison-{task}-dice",
        f"{spaced(task)}: differences in Dice",
        "; ".join(f"{r['name']} {r['value']:+.3f}" for r in shown[:4]),
        f"95 % intervals over {counts}; colour and shape: whether it excludes zero.{cut}",
        query(tables, "ablation", f"task = '{task}'", "metric = 'dice'"),
        vega.intervals(
            vega.looks([CLEAR, UNCLEAR]), vega.number("difference in Dice"), len(shown), zero=True
        ),
        shown,
    )


def _ranks(tables: Catalog) -> list[Chart]:
    """Mean ranks over all tasks, of studies with three arms or more."""
    found: list[Chart] = []
    rows = [row for row in tables["ranks"].to_pylist() if row["metric"] in ("dice", "ece")]
    for study, metric in dict.fromkeys((row["study"], row["metric"]) for row in rows):
        mine = [r for r in rows if (r["study"], r["metric"]) == (study, metric)]
        mine.sort(key=lambda r: r["mean_rank"])
        half = mine[0]["critical_difference"] / 2
        shown = [
            {
                "name": spaced(row["arm"]),
                "series": "mean rank",
                "value": row["mean_rank"],
                "low": row["mean_rank"] - half,
                "high": row["mean_rank"] + half,
                "images": row["blocks"],
            }
            for row in mine[:SHOWN]
        ]
        where = f"{spaced(study)}: " if len({row["study"] for row in rows}) > 1 else ""
        found.append(
            Chart(
                f"ranks-{study}-{metric}",
                f"{where}mean rank in {NAMES[metric]} over {mine[0]['tasks']} tasks",
                "; ".join(f"{r['name']} {r['value']:.2f}" for r in shown),
                f"1 is best; {mine[0]['blocks']} units of all tasks. Arms whose bars are apart"
                " differ at 5 %, all pairs considered (Nemenyi; Demšar 2006); Friedman's p"
                f" {p_value(mine[0]['friedman_p'])}. The blocks are units, not data sets: it is"
                " about these tasks, and the one with most units counts most.",
                query(tables, "ranks", f"metric = '{metric}'"),
                vega.intervals(
                    vega.looks(["mean rank"]), vega.number("mean rank", zero=False), len(shown)
                ),
                shown,
            )
        )
    return found


NAMES = {"dice": "Dice", "ece": "ECE"}
INTERACTIONS = (
    Column("task", "Task"),
    Column("metric", "Metric"),
    Column("first", "One change"),
    Column("second", "Another"),
    Column("interaction", "Both at once, beyond their sum", fixed(3), interval=True),
    Column("images", "Cases", text),
    Column("groups", "Groups", text),
    Column("seeds", "Seeds", text),
)


def _interactions(tables: Catalog) -> list[Block]:
    """Whether two changes add up, where a study crosses them."""
    rows = [
        {
            **row,
            "first": f"{row['axis']}: {row['axis_from']} → {row['axis_to']}",
            "second": f"{row['other_axis']}: {row['other_from']} → {row['other_to']}",
        }
        for row in tables["interactions"].to_pylist()
    ]
    if not rows:
        return []
    said = "Where two things were changed, each alone and both together: 0 if they just add up."
    folded = f"All {len(rows)} interactions"
    source = query(tables, "interactions")
    return [Note([said]), Table("interactions", INTERACTIONS, rows, source, folded=folded)]
