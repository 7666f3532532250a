"""Calibration: reliability diagrams, ECE near boundaries, and the effect of ensemble size."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, cast

import pyarrow.compute as pc

from orchestrator.heldout.rows import BOUNDARY, SAMPLE
from orchestrator.report import vega
from orchestrator.report.blocks import (
    Block,
    Chart,
    Column,
    CurveRow,
    Fold,
    Note,
    Section,
    Table,
    first_charts,
    folded,
)
from orchestrator.report.cell_names import (
    CellNames,
    distinct,
    plural,
    query,
    readable,
    sample_size,
)
from orchestrator.report.formats import as_text, decimals, interval_name
from trainables.schemas import BAND

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 60
NOTE = (
    "A reliability diagram shows, per bin of the predicted probability of a class, the share of"
    " pixels that belong to the class; perfect calibration lies on the diagonal. The pixels of all"
    " cases and seeds are pooled in 15 bins of equal width. Bands are 95 % percentile bootstrap"
    " intervals; a bin has none if its pixels come from fewer than six groups (or cases, where"
    " these are resampled)."
)
BRIEF = (
    "The share of pixels that belong to a class over its predicted probability. Calibrated"
    " predictions lie on the diagonal; the mean distance from it, weighted by pixels, is the"
    " expected calibration error (ECE)."
)
MOST_CHARTS = 3
"""Charts that are not folded: a row of the page."""
BOUNDARY_NOTE = (
    f"ECE of all pixels, and of those at most {BAND} pixels from the boundary of the true mask."
    " Nearly all errors are near the boundary, and the many easy pixels far from it lower the ECE"
    " of all pixels. Brackets are 95 % percentile bootstrap intervals."
)
ENDS = ("", "_low", "_high")
COLUMNS = (
    Column("task", "Task"),
    Column("series", "Arm"),
    Column("ece", "ECE, all pixels ↓", decimals(3), interval=True),
    Column("boundary", "ECE near the boundary ↓", decimals(3), interval=True),
    Column("images", "Cases", as_text),
    Column("groups", "Groups", as_text),
    Column("seeds", "Seeds", as_text),
)
SINGLE, DEEP = "feedforward", "deep_ensemble"
METRICS = (("ece", "ECE, lower is better"), ("dice", "Dice, higher is better"))


class ReliabilityRow(CurveRow):
    """A bin of a reliability diagram."""

    count: NotRequired[int]
    """The number of pixels in the bin."""


def section(tables: Catalog, names: CellNames) -> Section | None:
    """Return a reliability diagram per task and class, then metrics over the ensemble size."""
    bins = tables["reliability"].filter(pc.field("region") == "image")
    rows = names.add_series(bins.to_pylist())
    if not rows:
        return None
    charts = [
        _diagram(tables, names, rows, task, label)
        for task, label in dict.fromkeys((row["task"], row["class"]) for row in rows)
    ]
    board = names.add_series(tables["leaderboard"].to_pylist())
    over_size = [
        chart
        for task in names.tasks
        for metric in METRICS
        if (chart := _over_members(tables, board, task, *metric)) is not None
    ]
    blocks: list[Block] = [
        Note([BRIEF]),
        *first_charts(charts, MOST_CHARTS, f"{len(charts) - MOST_CHARTS} more classes"),
        *folded("Calibration near the boundary", _near_boundaries(tables, names)),
        *folded("Over the size of the ensemble", over_size),
        Fold("Method", [Note([NOTE])]),
    ]
    return Section("reliability", "Calibration", blocks, list(names.styles(rows)))


def _diagram(
    tables: Catalog, names: CellNames, rows: list[dict[str, Any]], task: str, label: str
) -> Chart:
    bins = [r for r in rows if (r["task"], r["class"]) == (task, label)]
    shown = list(names.styles(bins))[: vega.MAX_SERIES]
    points: list[ReliabilityRow] = [
        {
            "series": row["series"],
            "at": row["confidence"],
            "value": row["accuracy"],
            "low": row["accuracy_low"],
            "high": row["accuracy_high"],
            "count": row["count"],
        }
        for row in bins
        if row["series"] in shown
    ]
    several = len({r["class"] for r in rows if r["task"] == task}) > 1
    pixels = Counter[str]()
    for row in bins:
        pixels[row["series"]] += row["count"]
    without_bands = ""
    if len(distinct(points)) > vega.MAX_BANDS:
        without_bands = (
            f" With more than {vega.MAX_BANDS} arms, the intervals are only in the data below."
        )
    return Chart(
        f"reliability-{task}-{label}",
        f"{readable(task)}{f', {label}' if several else ''}: reliability",
        "; ".join(f"{name}: largest gap {_largest_gap(points, name):.2f}" for name in shown),
        f"At most {max(pixels[name] for name in shown):,} pixels per arm. The dashed diagonal"
        f" is perfect calibration.{without_bands}",
        query(tables, "reliability", f"task = '{task}'", f"class = '{label}'", "region = 'image'"),
        vega.reliability(names.styles(points)),
        points,
        small=True,
    )


def _largest_gap(points: list[ReliabilityRow], series: str) -> float:
    return max(abs(p["value"] - p["at"]) for p in points if p["series"] == series)


def _near_boundaries(tables: Catalog, names: CellNames) -> list[Table]:
    """Return the ECE of all pixels and of those near the true boundary, where it was measured."""
    readings: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in names.add_series(tables["readings"].to_pylist()):
        readings.setdefault((row["study"], row["cell"]), {})[row["reading"]] = row
    rows = [
        {**cell[SAMPLE], **{f"boundary{end}": cell[BOUNDARY][f"ece{end}"] for end in ENDS}}
        for cell in readings.values()
        if SAMPLE in cell and BOUNDARY in cell
    ]
    if not rows:
        return []
    source = query(tables, "readings", f"reading IN ('{SAMPLE}', '{BOUNDARY}')")
    return [Table("boundary", COLUMNS, rows, source, BOUNDARY_NOTE)]


class _Member(NamedTuple):
    """A cell as a member of a family: configs that differ in the ensemble size only."""

    kind: str
    model: str
    size: int
    row: dict[str, Any]
    """The cell's row of the leaderboard."""


def _over_members(
    tables: Catalog, board: list[dict[str, Any]], task: str, metric: str, title: str
) -> Chart | None:
    """Return a metric over the ensemble size; None if no two configs differ in it alone."""
    families: dict[str, list[_Member]] = {}
    for row in (r for r in board if r["task"] == task and r[metric] is not None):
        for kind, size, family in families_of(row["settings"]):
            member = _Member(readable(kind), row["model"], size, row)
            families.setdefault(f"{row['study']}{family}", []).append(member)
    varying = [members for members in families.values() if len({m.size for m in members}) > 1]
    if not varying:
        return None
    labels = _family_names([members[0] for members in varying])
    rows = [
        _size_row(name, member, metric)
        for name, members in zip(labels, varying, strict=True)
        for member in sorted(members, key=lambda m: m.size)
    ]
    first = varying[0][0].row
    return Chart(
        f"members-{task}-{metric}",
        f"{readable(task)}: {title.partition(',')[0]} over ensemble size",
        "; ".join(f"{r['series']} of {r['at']}: {r['value']:.3f}" for r in rows),
        f"Bands are {interval_name([m.row for m in varying[0]], metric)} over"
        f" {sample_size(first)} and {plural(first['seeds'], 'seed')}. The arms of a curve differ in"
        " the ensemble size only.",
        query(
            tables,
            "leaderboard",
            f"task = '{task}'",
            columns=f"arm, {metric}, {metric}_low, {metric}_high, settings",
        ),
        vega.curves(
            vega.styles(distinct(rows)),
            vega.quantitative("ensemble members"),
            vega.quantitative(title, zero=False),
        ),
        rows,
    )


def _size_row(series: str, member: _Member, metric: str) -> CurveRow:
    return {
        "series": series,
        "at": member.size,
        "value": member.row[metric],
        "low": member.row[f"{metric}_low"],
        "high": member.row[f"{metric}_high"],
    }


def _family_names(families: list[_Member]) -> list[str]:
    """Return a unique name per family: its kind, with the model and a number as needed."""
    kinds = Counter(family.kind for family in families)
    kinds_of_models = Counter((family.model, family.kind) for family in families)
    names: list[str] = []
    for number, family in enumerate(families, 1):
        name = family.kind if kinds[family.kind] == 1 else f"{family.model} {family.kind}"
        is_unique = kinds_of_models[family.model, family.kind] == 1
        names.append(name if is_unique else f"{name} ({number})")
    return names


def families_of(settings: str) -> list[tuple[str, int, str]]:
    """Return the families of ensembles that a config belongs to: (kind, size, all other settings).

    A single network is the smallest member of two families: of test-time views and of deep
    ensembles. ``settings`` is the config as JSON.
    """
    config = cast("dict[str, Any]", json.loads(settings))
    config.get("test", {}).pop("controls", None)  # controls do not change the sample
    (mode, fields), *_ = cast("dict[str, dict[str, Any]]", config["mode"]).items()
    networks, members = fields.get("networks", 1), fields.get("members")

    def others(kind: str, *varied: str) -> str:
        fixed = {k: v for k, v in fields.items() if k not in varied}
        return json.dumps([kind, {**config, "mode": fixed}], sort_keys=True)

    families: list[tuple[str, int, str]] = []
    if members is not None and networks == 1:
        families.append((mode, members, others(mode, "members", "networks")))
    if mode in (SINGLE, DEEP):
        families.append((DEEP, networks * (members or 1), others(DEEP, "networks")))
    return families
