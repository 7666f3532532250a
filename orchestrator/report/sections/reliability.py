"""Is the stated probability the frequency? Reliability, and what ensembles do for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from orchestrator.report import vega
from orchestrator.report.blocks import Block, Chart, Note, Section
from orchestrator.report.naming import Naming, ordered, query, sized, spaced

if TYPE_CHECKING:
    from orchestrator.tables import Tables

PLACE = 60
TOLD = (
    "Of the pixels that were given a probability, the share that are of the class: on the"
    " diagonal a probability means what it says. Pixels of all cases and seeds are pooled in 15"
    " bins of equal width; bands are 95 % as in the leaderboard, wide where few pixels are."
)
METRICS = (("ece", "ECE, lower is better"), ("dice", "Dice, higher is better"))


def section(tables: Tables, naming: Naming) -> Section | None:
    """Per task and class, the reliability of every arm; then ECE and Dice over ensemble size."""
    rows = naming.of(tables["reliability"].to_pylist())
    if not rows:
        return None
    groups = dict.fromkeys((row["task"], row["class"]) for row in rows)
    charts = [_diagram(tables, naming, rows, *group) for group in groups]
    board = naming.of(tables["leaderboard"].to_pylist())
    grown = [
        chart
        for task in naming.tasks
        for metric in METRICS
        if (chart := _over_members(tables, board, task, *metric)) is not None
    ]
    blocks: list[Block] = [Note([TOLD]), *charts, *grown]
    return Section("reliability", "Calibration", blocks, list(naming.looks(rows)))


def _diagram(
    tables: Tables, naming: Naming, rows: list[dict[str, Any]], task: str, label: str
) -> Chart:
    mine = [r for r in rows if (r["task"], r["class"]) == (task, label)]
    shown = list(naming.looks(mine))[: vega.MOST]
    points = [
        {
            "series": row["series"],
            "at": row["confidence"],
            "value": row["accuracy"],
            "low": row["accuracy_low"],
            "high": row["accuracy_high"],
            "count": row["count"],
        }
        for row in mine
        if row["series"] in shown
    ]
    several = len({r["class"] for r in rows if r["task"] == task}) > 1
    pixels = max((sum(p["count"] for p in points if p["series"] == s) for s in shown), default=0)
    return Chart(
        f"reliability-{task}-{label}",
        f"{spaced(task)}{f', {label}' if several else ''}: reliability",
        "; ".join(f"{s}: widest gap {_gap(points, s):.2f}" for s in shown),
        f"At most {pixels:,} pixels an arm; the grey diagonal is perfect calibration.",
        query(tables, "reliability", f"task = '{task}'", f"class = '{label}'"),
        vega.reliability(naming.looks(points)),
        points,
    )


def _gap(points: list[dict[str, Any]], series: str) -> float:
    return max(abs(p["value"] - p["at"]) for p in points if p["series"] == series)


def _over_members(
    tables: Tables, board: list[dict[str, Any]], task: str, metric: str, title: str
) -> Chart | None:
    """A metric over the members of otherwise equal configs; None where members do not vary."""
    families: dict[str, list[dict[str, Any]]] = {}
    for row in (r for r in board if r["task"] == task and r[metric] is not None):
        members, family = family_of(row["settings"])
        if members is not None:
            point = {
                "at": members,
                "value": row[metric],
                "images": row["images"],
                "groups": row["groups"],
            }
            ends = {end: row[f"{metric}_{end}"] for end in ("low", "high")}
            families.setdefault(f"{row['study']}{family}", []).append(
                {**point, **ends, "series": spaced(row["mode"])}
            )
    rows = [
        point
        for points in families.values()
        if len({p["at"] for p in points}) > 1
        for point in sorted(points, key=lambda p: p["at"])
    ]
    if not rows:
        return None
    return Chart(
        f"members-{task}-{metric}",
        f"{spaced(task)}: {title.partition(',')[0]} over ensemble size",
        "; ".join(f"{r['series']} of {r['at']}: {r['value']:.3f}" for r in rows),
        f"Bands: 95 % over {sized(rows[0])} and seeds; arms that differ in members only.",
        query(
            tables,
            "leaderboard",
            f"task = '{task}'",
            columns=f"arm, {metric}, {metric}_low, {metric}_high, settings",
        ),
        vega.lines(
            vega.looks(ordered(rows)), vega.number("members"), vega.number(title, zero=False)
        ),
        rows,
    )


def family_of(settings: str) -> tuple[int | None, str]:
    """How many members a config has, and all of it but that; None where a mode has no members."""
    config = cast("dict[str, Any]", json.loads(settings))
    (mode, given), *_ = cast("dict[str, dict[str, Any]]", config["mode"]).items()
    fields = dict(given)
    members = fields.pop("members", None)
    config["mode"] = {mode: fields}
    return members, json.dumps(config, sort_keys=True)
