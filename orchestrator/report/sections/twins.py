"""Diffusion against the same network in one pass: at equal passes, at equal device-seconds."""

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
from orchestrator.report.naming import Naming, ordered, query, sized

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 50
TOLD = (
    "Diffusion less its twin, over the same cases and seeds. A twin that makes as many passes is"
    " the fair one at test time; one that was trained for as many device-seconds the fair one in"
    " training: which pairs are equal in what, to a tenth, is said with each. p: as for the"
    " comparisons in pairs."
)
COLUMNS = (
    Column("task", "Task"),
    Column("metric", "Metric"),
    Column("name", "Diffusion − twin"),
    Column("difference", "Difference", fixed(3), interval=True),
    Column("p_holm", "p, Holm", p_value),
    Column("passes", "Passes", text),
    Column("passes_against", "Twin's passes", text),
    Column("device_seconds", "Device-seconds", fixed(0)),
    Column("device_seconds_against", "Twin's device-seconds", fixed(0)),
    Column("equal", "Equal in"),
    Column("images", "Cases", text),
    Column("groups", "Groups", text),
    Column("seeds", "Seeds", text),
)


def section(tables: Catalog, naming: Naming) -> Section | None:
    """Differences in Dice and in ECE, one line per pair, and the table."""
    rows = [
        {
            **row,
            "name": _name(naming(row["study"], row["cell"]), naming(row["study"], row["against"])),
            "equal": _equal(row),
        }
        for row in tables["twins"].to_pylist()
    ]
    if not rows:
        return None
    source = query(tables, "twins")
    charts = [_forest(rows, metric, title, source) for metric, title in METRICS]
    table = Table("twins", COLUMNS, rows, source, folded=f"All {len(rows)} comparisons")
    blocks: list[Block] = [Note([TOLD]), *charts, table]
    return Section("twins", "Diffusion against its twin", blocks)


METRICS = (
    ("dice", "Dice: above 0, diffusion is better"),
    ("ece", "ECE: below 0, diffusion is better"),
)
KINDS = ("passes and device-seconds", "passes", "device-seconds", "nothing")


def _name(one: str, other: str) -> str:
    """The two, without the words that the second begins with as well."""
    words, others = one.split(), other.split()
    while len(others) > 1 and words[:1] == others[:1]:
        words, others = words[1:], others[1:]
    return f"{one} − {' '.join(others)}"


def _equal(row: dict[str, Any]) -> str:
    named = (("passes", row["equal_passes"]), ("device-seconds", row["equal_seconds"]))
    return " and ".join(name for name, is_so in named if is_so) or "nothing"


def _forest(rows: list[dict[str, Any]], metric: str, title: str, source: str) -> Chart:
    several = len({r["task"] for r in rows}) > 1
    shown = [
        {
            "name": f"{row['task']}: {row['name']}" if several else row["name"],
            "series": f"equal in {row['equal']}",
            "value": row["difference"],
            "low": row["difference_low"],
            "high": row["difference_high"],
            "images": row["images"],
        }
        for row in rows
        if row["metric"] == metric
    ]
    series = [f"equal in {kind}" for kind in KINDS]
    used = [s for s in series if s in ordered(shown)]
    looks = ", ".join(
        f"{shape} {name}" for name, shape in zip(used, ("●", "■", "▲", "◆"), strict=False)
    )
    sizes = {row["task"]: f"{sized(row)} × {row['seeds']} seeds" for row in rows}
    counts = ", ".join(f"{task} {size}" for task, size in sizes.items())
    return Chart(
        f"twins-{metric}",
        title,
        "; ".join(f"{r['name']} {r['value']:+.3f}" for r in shown[:6]),
        f"95 % intervals over {counts}. {looks}.",
        source,
        vega.intervals(
            vega.looks(used),
            vega.number(f"difference in {title.partition(':')[0]}"),
            len(shown),
            zero=True,
        ),
        shown,
        wide=True,
    )
