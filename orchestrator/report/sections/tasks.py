"""Comparison of the fingerprints of tasks: distances, tests, a map, and traits of the masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.fingerprint.task_groups import ALIKE
from orchestrator.formatting import plural
from orchestrator.report import vega
from orchestrator.report.blocks import (
    Block,
    Chart,
    Column,
    Fold,
    Note,
    PointRow,
    Section,
    Table,
    folded,
)
from orchestrator.report.cell_names import CellNames, distinct, query, readable
from orchestrator.report.formats import as_text, decimals, p_value
from orchestrator.statistics.bootstrap import FEWEST

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 30
BRIEF = (
    "Where the tasks' information densities lie on the axis of log-SNR λ: two tasks have"
    " different fingerprints if p, adjusted by Holm's method, is at most 0.05 and the distance"
    " exceeds the one between training seeds of one task."
)
NOTE = (
    "The information densities of tasks are compared where the models were trained alike, over the"
    " range of λ that all of them cover. Distances are between densities scaled to unit area: they"
    " measure where the information lies, not how much there is. Two noisy curves always differ, so"
    " the lower ends of the intervals exceed 0 even for equal fingerprints. The p value is from a"
    " permutation test that exchanges whole groups, or tiles for tasks with fewer than"
    f" {FEWEST} groups; it is adjusted by Holm's method over the pairs. The test is conditional on"
    " these networks: it ignores the variance between training seeds and, with few groups, the"
    " dependence of tiles from one image, so p is too small. The distance between seeds of one task"
    " is given for comparison."
)
DISTANCES = (
    Column("arm", "Arm"),
    Column("model", "Model"),
    Column("task", "Task"),
    Column("against", "Other task"),
    Column("wasserstein", "Wasserstein-1 distance in λ", decimals(2), interval=True),
    Column("wasserstein_seeds", "Same between seeds of one task", decimals(2)),
    Column("jensen_shannon", "Jensen–Shannon distance", decimals(3), interval=True),
    Column("bits", "Area between the curves, bits per pixel", decimals(4), interval=True),
    Column("p", "p", p_value),
    Column("p_holm", "p (Holm)", p_value),
    Column("images", "Tiles", as_text),
    Column("groups", "Groups", as_text),
    Column("images_against", "Tiles, other task", as_text),
    Column("groups_against", "Groups, other task", as_text),
)
TRAITS = (
    Column("arm", "Arm"),
    Column("model", "Model"),
    Column("task", "Task"),
    Column("cluster", "Cluster of tasks without significant differences", as_text),
    Column("half", "Half-information λ", decimals(2)),
    Column("prevalence", "Foreground share", decimals(3)),
    Column("object_size", "Mean object size, pixels", decimals(0)),
    Column("perimeter", "Perimeter per pixel, sum over classes", decimals(3)),
    Column("correlation", "Correlation of neighbouring pixels", decimals(3)),
)
CORRELATIONS = {
    "prevalence_rho": "foreground share",
    "object_size_rho": "object size",
    "perimeter_rho": "perimeter",
    "correlation_rho": "correlation of neighbouring pixels",
}
ENDS = ("", "_low", "_high")


def section(tables: Catalog, names: CellNames) -> Section | None:
    """Return the distances of all pairs, a map per group of models, and the masks' traits."""
    rows = tables["distances"].to_pylist()
    if not rows:
        return None
    bits = {_pair(row): row for row in rows if row["normalisation"] == "bits"}
    pairs = [
        {**row, **{f"bits{end}": bits[_pair(row)][f"area_between{end}"] for end in ENDS}}
        for row in rows
        if row["normalisation"] == "unit" and _pair(row) in bits
    ]
    tasks = tables["task_map"].to_pylist()
    groups = _groups(tasks)
    blocks: list[Block] = [
        Note([BRIEF]),
        Table("distances", DISTANCES, pairs, query(tables, "distances")),
        *folded("Maps of the tasks", [_map(tables, *group) for group in groups.items()]),
        Fold("Traits of the masks", [Table("tasks", TRAITS, tasks, query(tables, "task_map"))]),
        Fold("Method", [Note([NOTE])]),
    ]
    correlations = _correlations(groups)
    if correlations:
        blocks.append(Note(correlations, bullets=True))
    del names  # the section compares tasks, not arms
    return Section("tasks", "Comparison of fingerprints between tasks", blocks)


def _pair(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[k] for k in ("study", "cell", "against_cell"))


def _groups(tasks: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the tasks of each map, by the arm and what else its models have in common.

    An arm of several models or studies has several maps, with coordinates of their own.
    """
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in tasks:
        found.setdefault(tuple(row[column] for column in ALIKE), []).append(row)
    of_arm = Counter(rows[0]["arm"] for rows in found.values())
    return {
        readable(arm) if of_arm[arm] == 1 else ", ".join([readable(arm), study, *others]): rows
        for (study, arm, *others), rows in found.items()
    }


def _map(tables: Catalog, name: str, tasks: list[dict[str, Any]]) -> Chart:
    rows: list[PointRow] = [
        {
            "name": readable(row["task"]),
            "series": f"cluster {row['cluster']}",
            "at": row["x"],
            "value": row["y"],
        }
        for row in tasks
    ]
    same = {column: str(tasks[0][column]).replace("'", "''") for column in ALIKE}
    conditions = [f"{column} = '{value}'" for column, value in same.items()]
    return Chart(
        f"tasks-{name}",
        f"{name}: map of the fingerprints",
        "; ".join(f"{row['name']} at ({row['at']:.2f}, {row['value']:.2f})" for row in rows),
        f"Classical scaling of {plural(len(rows), 'task')}: distances in the plane approximate the"
        " Wasserstein distances in λ. The intervals of the distances are in the table above.",
        query(tables, "task_map", *conditions),
        vega.labelled_scatter(
            vega.styles(distinct(rows)), "first coordinate, in λ", "second coordinate, in λ"
        ),
        rows,
    )


def _correlations(groups: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """Return per map the rank correlations of traits with the half-information λ, if known."""
    sentences: list[str] = []
    for name, (row, *_) in groups.items():
        known = [
            f"{trait} {decimals(2)(row[column])}"
            for column, trait in CORRELATIONS.items()
            if row.get(column) is not None
        ]
        if known:
            sentences.append(
                f"{name}: Spearman's ρ of the half-information λ over"
                f" {plural(row['tasks'], 'task')} with {', '.join(known)}."
            )
    return sentences
