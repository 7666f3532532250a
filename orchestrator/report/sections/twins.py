"""Diffusion versus its feed-forward twin, with the costs in which the two are equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.report import vega
from orchestrator.report.blocks import (
    Block,
    Chart,
    Column,
    Fold,
    Note,
    Section,
    Table,
    interval_row,
)
from orchestrator.report.cell_names import (
    CellNames,
    distinct,
    plural,
    query,
    readable,
    sample_size,
)
from orchestrator.report.formats import as_text, decimals, interval_name, p_value, signed

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 50
BRIEF = (
    "Diffusion minus the same network trained as a feed-forward segmenter, or an ensemble of such,"
    " over the same cases and seeds; marks show in which costs the two are equal."
)
NOTE = (
    "Differences are diffusion minus its feed-forward twin, over the same cases and seeds. At"
    " test time, the comparison is fair with a twin that makes equally many network passes; in"
    " training, with a twin that was trained for equally many device-seconds. The charts mark"
    " which of the two costs are equal (device-seconds within 10 %). The p value is computed as"
    " in the paired comparisons, and adjusted over the pairs of this section alone, so that it"
    " can be smaller than the one there."
)
COLUMNS = (
    Column("task", "Task"),
    Column("metric", "Metric"),
    Column("name", "Diffusion − twin"),
    Column("difference", "Difference", decimals(3), interval=True),
    Column("p_holm", "p (Holm)", p_value),
    Column("passes", "Passes", as_text),
    Column("passes_against", "Passes, twin", as_text),
    Column("device_seconds", "Device-seconds", decimals(0)),
    Column("device_seconds_against", "Device-seconds, twin", decimals(0)),
    Column("equal", "Equal cost"),
    Column("images", "Cases", as_text),
    Column("groups", "Groups", as_text),
    Column("seeds", "Seeds", as_text),
)
METRICS = (
    ("dice", "Dice: diffusion is better above 0"),
    ("ece", "ECE: diffusion is better below 0"),
)
MOST_NARROW = 12
"""The most lines of charts that share a row of the page."""
EQUAL_COSTS = (
    "equal passes and device-seconds",
    "equal passes",
    "equal device-seconds",
    "unequal passes and device-seconds",
)


def section(tables: Catalog, names: CellNames) -> Section | None:
    """Return the differences in Dice and ECE, one line per pair, and the table of all metrics."""
    rows = [
        {
            **row,
            "name": _difference_name(
                names(row["study"], row["cell"]), names(row["study"], row["against"])
            ),
            "equal": _equal_cost(row),
        }
        for row in tables["twins"].to_pylist()
    ]
    if not rows:
        return None
    source = query(tables, "twins")
    charts = [_forest(rows, metric, title, source) for metric, title in METRICS]
    table = Table("twins", COLUMNS, rows, source)
    method = Fold(f"Method, and all {len(rows)} comparisons", [Note([NOTE]), table])
    blocks: list[Block] = [Note([BRIEF]), *charts, method]
    return Section("twins", "Diffusion versus its feed-forward twin", blocks)


def _difference_name(one: str, other: str) -> str:
    """Return ``one − other``, the second without the words that both names begin with."""
    words, others = one.split(), other.split()
    while len(others) > 1 and words[:1] == others[:1]:
        words, others = words[1:], others[1:]
    return f"{one} − {' '.join(others)}"


def _equal_cost(row: dict[str, Any]) -> str:
    both, passes, seconds, neither = EQUAL_COSTS
    if row["equal_passes"]:
        return both if row["equal_seconds"] else passes
    return seconds if row["equal_seconds"] else neither


def _forest(rows: list[dict[str, Any]], metric: str, title: str, source: str) -> Chart:
    several = len({r["task"] for r in rows}) > 1
    pairs = [row for row in rows if row["metric"] == metric]
    shown = [
        interval_row(
            f"{readable(row['task'])}: {row['name']}" if several else row["name"],
            row["equal"],
            row,
            "difference",
        )
        for row in pairs
    ]
    present = [cost for cost in EQUAL_COSTS if cost in distinct(shown)]
    marks = zip(vega.SHAPE_MARKS, present, strict=False)
    return Chart(
        f"twins-{metric}",
        title,
        "; ".join(f"{r['name']} {signed(r['value'])}" for r in shown[:6]),
        f"Bars are {interval_name(pairs, 'difference')}, {_sizes(pairs)}.",
        source,
        vega.forest(
            vega.styles(present),
            vega.quantitative(f"difference in {title.partition(':')[0]}"),
            len(shown),
            zero=True,
        ),
        shown,
        key="; ".join(f"{mark} {cost}" for mark, cost in marks) + ".",
        wide=len(shown) > MOST_NARROW,
    )


def _sizes(pairs: list[dict[str, Any]]) -> str:
    sizes = {
        readable(row["task"]): f"{sample_size(row)} and {plural(row['seeds'], 'seed')}"
        for row in pairs
    }
    return "; ".join(f"{task}: n = {size}" for task, size in sizes.items())
