"""How the fingerprints of tasks differ: distances, a test per pair, a map, what goes with it."""

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
from orchestrator.statistics.bootstrap import FEWEST

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 30
TOLD = (
    "Information densities of tasks whose models were trained alike, over the λ that all of them"
    " were measured in. Distances are between densities scaled to unit area: how differently the"
    " information lies, not how much there is. The lower ends of their intervals are above 0 even"
    " for equal fingerprints. p: a permutation test of these networks that exchanges whole groups,"
    f" or tiles of a task with fewer than {FEWEST} groups, adjusted by Holm over the pairs. It does"
    " not know that another training seed gives another curve, nor, of so few groups, that tiles of"
    " one image are alike, so it is too small: look at how far apart the seeds of one task are."
)
DISTANCES = (
    Column("arm", "Arm"),
    Column("task", "Task"),
    Column("against", "Against"),
    Column("wasserstein", "Wasserstein-1, in λ", fixed(2), interval=True),
    Column("wasserstein_seeds", "between seeds of one task", fixed(2)),
    Column("jensen_shannon", "Jensen–Shannon", fixed(3), interval=True),
    Column("bits", "Area between, bits per pixel", fixed(4), interval=True),
    Column("p", "p", p_value),
    Column("p_holm", "p, Holm", p_value),
    Column("images", "Tiles", text),
    Column("groups", "Groups", text),
    Column("images_against", "Tiles of the other", text),
    Column("groups_against", "Groups of the other", text),
)
TRAITS = (
    Column("arm", "Arm"),
    Column("task", "Task"),
    Column("cluster", "Cluster (not told apart)", text),
    Column("half", "Half below λ", fixed(2)),
    Column("prevalence", "Foreground", fixed(3)),
    Column("object_size", "Object, pixels", fixed(0)),
    Column("perimeter", "Perimeter per pixel, summed over classes", fixed(3)),
    Column("correlation", "Neighbours' correlation", fixed(3)),
)
RHO = tuple(
    Column(f"{name}_rho", words, fixed(2))
    for name, words in (
        ("prevalence", "foreground"),
        ("object_size", "object size"),
        ("perimeter", "perimeter"),
        ("correlation", "neighbours' correlation"),
    )
)


def section(tables: Catalog, naming: Naming) -> Section | None:
    """The pairs, the map of each group of models trained alike, and what the masks are like."""
    rows = tables["distances"].to_pylist()
    if not rows:
        return None
    bits = {_pair(row): row for row in rows if row["normalisation"] == "bits"}
    pairs = [
        {**row, **{f"bits{end}": bits[_pair(row)][f"area_between{end}"] for end in ENDS}}
        for row in rows
        if row["normalisation"] == "unit" and _pair(row) in bits
    ]
    placed = tables["task_map"].to_pylist()
    blocks: list[Block] = [
        Note([TOLD]),
        Table("distances", DISTANCES, pairs, query(tables, "distances")),
        *(_map(tables, placed, arm) for arm in ordered(placed, "arm")),
        Table("tasks", TRAITS, placed, query(tables, "task_map")),
    ]
    related = _related(placed)
    if related:
        blocks.append(Note(related, bullets=True))
    del naming  # tasks are compared, not arms
    return Section("tasks", "Fingerprints across tasks", blocks)


ENDS = ("", "_low", "_high")


def _pair(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[k] for k in ("study", "cell", "against_cell"))


def _map(tables: Catalog, placed: list[dict[str, Any]], arm: str) -> Chart:
    mine = [row for row in placed if row["arm"] == arm]
    rows = [
        {
            "name": spaced(row["task"]),
            "series": f"cluster {row['cluster']}",
            "at": row["x"],
            "value": row["y"],
        }
        for row in mine
    ]
    return Chart(
        f"tasks-{arm}",
        f"{spaced(arm)}: a map of the fingerprints",
        "; ".join(f"{row['name']} at ({row['at']:.2f}, {row['value']:.2f})" for row in rows),
        f"{len(rows)} tasks; the distances in the plane are near the Wasserstein distances, in λ."
        " A point has no interval: those of the distances are in the table.",
        query(tables, "task_map", f"arm = '{arm}'"),
        vega.labelled(vega.looks(ordered(rows)), "first coordinate, in λ", "second, in λ"),
        rows,
    )


def _related(placed: list[dict[str, Any]]) -> list[str]:
    """Rank correlations with the half-information λ, where there are enough tasks for any."""
    said: list[str] = []
    for arm in ordered(placed, "arm"):
        row = next(row for row in placed if row["arm"] == arm)
        known = [f"{c.label} {c.cell(row)}" for c in RHO if row.get(c.key) is not None]
        if known:
            count = f"{row['tasks']} tasks"
            said.append(
                f"{spaced(arm)}: Spearman's ρ with half-information λ over {count}: "
                + ", ".join(known)
            )
    return said
