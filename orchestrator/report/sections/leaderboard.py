"""Who is best: accuracy and calibration of every final arm, with intervals and costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.formatting import clock, memory
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
from orchestrator.report.naming import Naming, query, sized, spaced
from orchestrator.statistics.bootstrap import FEWEST

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 10
BASELINE = "intensity"
"""The model that knows a pixel's grey level at most: what a network has to beat."""
COLUMNS = (
    Column("task", "Task"),
    Column("series", "Arm"),
    Column("dice", "Dice ↑", fixed(3), interval=True),
    Column("iou", "IoU ↑", fixed(3), interval=True),
    Column("ece", "ECE ↓", fixed(3), interval=True),
    Column("brier", "Brier ↓", fixed(3)),
    Column("seeds", "Seeds", text),
    Column("images", "Cases", text),
    Column("groups", "Groups", text),
    Column("passes_per_image", "Passes", text),
    Column("seconds_per_image", "Seconds per case", fixed(3)),
    Column("train_device_seconds", "Training", lambda v: clock(v) if v is not None else text(v)),
    Column("memory", "Memory", text),
    Column("parameters", "Parameters", fixed(0)),
    Column("model", "Model"),
)
SHOWN = 20
"""Arms per chart; the table has all."""


def section(tables: Catalog, naming: Naming) -> Section:
    """The table, and per task a chart of Dice and one of ECE."""
    board = naming.of(tables["leaderboard"].to_pylist())
    if not board:
        said = "No final trial has finished yet: nothing can be ranked."
        return Section("leaderboard", "Leaderboard", [Note([said])])
    source = query(tables, "leaderboard")
    rows = [{**row, "memory": memory(row)} for row in board]
    said = (
        "Held-out cases (tiles or whole images), best first. Brackets are 95 % bootstrap intervals"
        f" over groups (patients, slides, slabs) and seeds; where there are fewer than {FEWEST}"
        " groups over cases, which tells nothing of other patients. ECE (15 bins) and Brier score"
        " are pooled over pixels; seconds are device-seconds."
    )
    charts = [
        _chart(naming, board, task, *metric, source) for task in naming.tasks for metric in METRICS
    ]
    blocks: list[Block] = [Note([said]), Table("leaderboard", COLUMNS, rows, source), *charts]
    beaten = verdicts(tables, board)
    if beaten:
        blocks.append(Note(beaten, bullets=True))
    return Section("leaderboard", "Leaderboard", blocks, list(naming.looks(board)))


METRICS = (("dice", "Dice, higher is better"), ("ece", "ECE, lower is better"))


def _chart(
    naming: Naming, board: list[dict[str, Any]], task: str, metric: str, title: str, source: str
) -> Chart:
    mine = [r for r in board if r["task"] == task and r[metric] is not None]
    mine.sort(key=lambda r: r[metric], reverse=metric == "dice")
    rows = [
        {
            "name": row["series"],
            "series": row["series"],
            "value": row[metric],
            "low": row[f"{metric}_low"],
            "high": row[f"{metric}_high"],
            "images": row["images"],
        }
        for row in mine[:SHOWN]
    ]
    cut = f" The first {SHOWN} of {len(mine)} arms." if len(mine) > SHOWN else ""
    counts = f"{sized(mine[0])}, {mine[0]['seeds']} seeds" if mine else "no cases"
    return Chart(
        f"leaderboard-{task}-{metric}",
        f"{spaced(task)}: {title}",
        "; ".join(f"{r['name']} {r['value']:.3f}" for r in rows[:6]),
        f"95 % intervals over {counts}.{cut}",
        source,
        vega.intervals(naming.looks(rows), vega.number(title, zero=False), len(rows)),
        rows,
    )


def verdicts(tables: Catalog, board: list[dict[str, Any]]) -> list[str]:
    """Per task and network, whether it beats each baseline on the same cases: either way."""
    models = {(row["study"], row["cell"]): row for row in board}
    said: list[str] = []
    for pair in tables["ablation"].to_pylist():
        one, other = (models.get((pair["study"], pair[side])) for side in ("cell", "against"))
        if pair["metric"] != "dice" or one is None or other is None:
            continue
        if (one["model"] == BASELINE) != (other["model"] == BASELINE):
            said.append(_said(pair, one, other))
    return sorted(said)


def _said(pair: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> str:
    """The pair, the network first."""
    ends = (pair["difference"], pair["difference_low"], pair["difference_high"])
    if one["model"] == BASELINE:
        one, other = other, one
        ends = (-ends[0], -ends[2], -ends[1])
    difference, low, high = ends
    verb = "beats" if low > 0 else "is beaten by" if high < 0 else "is not told apart from"
    return (
        f"{spaced(one['task'])}: {one['model']} {one['series']} {verb} {other['series']},"
        f" Dice {difference:+.3f} [{low:+.3f}, {high:+.3f}] in pairs"
        f" (p {p_value(pair['p_holm'])}, Holm)."
    )
