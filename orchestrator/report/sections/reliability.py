"""Is the stated probability the frequency? Reliability, and what ensembles do for it."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import pyarrow.compute as pc

from orchestrator.heldout.rows import BOUNDARY, SAMPLE
from orchestrator.report import vega
from orchestrator.report.blocks import Block, Chart, Column, Note, Section, Table, fixed, text
from orchestrator.report.naming import Naming, ordered, query, sized, spaced
from trainables.schemas import BAND

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 60
TOLD = (
    "Of the pixels that were given a probability, the share that are of the class: on the"
    " diagonal a probability means what it says. Pixels of all cases and seeds are pooled in 15"
    " bins of equal width; bands are 95 % as in the leaderboard, and absent where fewer than"
    " six cases or groups have a pixel."
)
ENDS = ("", "_low", "_high")
COLUMNS = (
    Column("task", "Task"),
    Column("series", "Arm"),
    Column("ece", "ECE, all pixels ↓", fixed(3), interval=True),
    Column("boundary", "ECE at the boundary ↓", fixed(3), interval=True),
    Column("images", "Cases", text),
    Column("groups", "Groups", text),
    Column("seeds", "Seeds", text),
)
SINGLE, DEEP = "feedforward", "deep_ensemble"
METRICS = (("ece", "ECE, lower is better"), ("dice", "Dice, higher is better"))


def section(tables: Catalog, naming: Naming) -> Section | None:
    """Per task and class, the reliability of every arm; then ECE and Dice over ensemble size."""
    seen = tables["reliability"].filter(pc.field("region") == "image")
    rows = naming.of(seen.to_pylist())
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
    blocks: list[Block] = [Note([TOLD]), *charts, *_near_boundaries(tables, naming), *grown]
    return Section("reliability", "Calibration", blocks, list(naming.looks(rows)))


def _diagram(
    tables: Catalog, naming: Naming, rows: list[dict[str, Any]], task: str, label: str
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
    without = ""
    if len(ordered(points)) > vega.BANDS:
        without = f" More than {vega.BANDS} arms: their intervals are in the numbers."
    return Chart(
        f"reliability-{task}-{label}",
        f"{spaced(task)}{f', {label}' if several else ''}: reliability",
        "; ".join(f"{s}: widest gap {_gap(points, s):.2f}" for s in shown),
        f"At most {pixels:,} pixels an arm; the grey diagonal is perfect calibration.{without}",
        query(tables, "reliability", f"task = '{task}'", f"class = '{label}'", "region = 'image'"),
        vega.reliability(naming.looks(points)),
        points,
    )


def _near_boundaries(tables: Catalog, naming: Naming) -> list[Table]:
    """ECE of all pixels beside that of those near a true boundary, where that was read."""
    by: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in naming.of(tables["readings"].to_pylist()):
        by.setdefault((row["study"], row["cell"]), {})[row["reading"]] = row
    rows = [
        {**mine[SAMPLE], **{f"boundary{end}": mine[BOUNDARY][f"ece{end}"] for end in ENDS}}
        for mine in by.values()
        if SAMPLE in mine and BOUNDARY in mine
    ]
    if not rows:
        return []
    caption = (
        f"Boundary: pixels at most {BAND} from one of the other side of the true mask's boundary,"
        " where nearly all errors are; easy pixels far from it make the ECE of all pixels small."
        " 95 % intervals over groups or cases, and seeds."
    )
    source = query(tables, "readings", f"reading IN ('{SAMPLE}', '{BOUNDARY}')")
    return [Table("boundary", COLUMNS, rows, source, caption)]


def _gap(points: list[dict[str, Any]], series: str) -> float:
    return max(abs(p["value"] - p["at"]) for p in points if p["series"] == series)


def _over_members(
    tables: Catalog, board: list[dict[str, Any]], task: str, metric: str, title: str
) -> Chart | None:
    """A metric over the members of otherwise equal configs; None where members do not vary."""
    families: dict[str, list[dict[str, Any]]] = {}
    for row in (r for r in board if r["task"] == task and r[metric] is not None):
        about = {"value": row[metric], "images": row["images"], "groups": row["groups"]}
        about |= {end: row[f"{metric}_{end}"] for end in ("low", "high")}
        for kind, members, family in families_of(row["settings"]):
            families.setdefault(f"{row['study']}{family}", []).append(
                {"at": members, **about, "series": spaced(kind), "model": row["model"]}
            )
    vary = [points for points in families.values() if len({p["at"] for p in points}) > 1]
    rows = [
        {**point, "series": name}
        for name, points in zip(_called([points[0] for points in vary]), vary, strict=True)
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


def _called(families: list[dict[str, Any]]) -> list[str]:
    """A name for each line: its kind, and as much more as tells it from the others."""
    kinds = Counter(family["series"] for family in families)
    both = Counter((family["model"], family["series"]) for family in families)
    names: list[str] = []
    for i, family in enumerate(families, 1):
        kind, model = family["series"], family["model"]
        name = kind if kinds[kind] == 1 else f"{model} {kind}"
        names.append(name if both[model, kind] == 1 else f"{name} ({i})")
    return names


def families_of(settings: str) -> list[tuple[str, int, str]]:
    """Ensembles that a config is one of: their kind, its members, and all of it but that.

    One network is the first of its deep ensembles, too, as it is the first of its views.
    """
    config = cast("dict[str, Any]", json.loads(settings))
    config.get("test", {}).pop("controls", None)  # further readings, beside the sample
    (mode, given), *_ = cast("dict[str, dict[str, Any]]", config["mode"]).items()
    networks, members = given.get("networks", 1), given.get("members")

    def rest(kind: str, *without: str) -> str:
        fields = {k: v for k, v in given.items() if k not in without}
        return json.dumps([kind, {**config, "mode": fields}], sort_keys=True)

    found: list[tuple[str, int, str]] = []
    if members is not None and networks == 1:
        found.append((mode, members, rest(mode, "members", "networks")))
    if mode in (SINGLE, DEEP):
        found.append((DEEP, networks * (members or 1), rest(DEEP, "networks")))
    return found
