"""The source study's claims, one by one: what these data say, and what they can not tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.claims.convergence import BELOW, LEARNING
from orchestrator.report.blocks import Block, Column, Note, Section, Table, fixed, p_value, text
from orchestrator.report.naming import Naming, ordered, query, spaced

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 15
TOLD = (
    "Öttl et al. (arXiv 2403.14440) found four things about diffusion models for segmentation. Of"
    " each, what these data say: it holds, it does not hold, or it can not be told. That is judged"
    " by differences in pairs over the same cases and seeds, never by two intervals: the 95 %"
    " interval excludes zero, most test units (patients, or cases of fewer than six of these) are"
    " on the same side, and p, adjusted by Holm over models and tasks, is at most 0.05."
    " Where networks were still learning when they were tested, or are below grey levels alone in"
    " validation, it can not be told, whatever they show as they are."
)
TITLES = {
    1: "Claim 1: diffusion is better calibrated than its twin, and less accurate than nnU-Net and"
    " SegFormer",
    2: "Claim 2: at some timesteps the image hardly helps, since the noisy mask already tells",
    3: "Claim 3: the loss over timesteps is not monotone",
    4: "Claim 4: each task has a timestep fingerprint of its own",
}
METRICS = {"ece": "ECE", "dice": "Dice", "iou": "IoU"}
MEASURED = {
    **METRICS,
    "share": "share of the error that the image takes away, less 5 %",
    "loss": "ε-error",
    "wasserstein": "λ",
}
FIRST = ("holds", "does not hold", "can not be told")
KINDS = {
    BELOW: "a network below grey levels alone in validation",
    LEARNING: "a network that was still learning",
    "may be chance": "a difference that may be chance",
}
"""What a reason has in it, and what it is called where several are counted."""
DIFFERENCE = Column("difference", "Difference", fixed(3), interval=True)
COLUMNS = (
    Column("claim", "Claim", text),
    Column("said", "Diffusion is, or has"),
    Column("task", "Task"),
    Column("name", "Arms"),
    Column("verdict", "These data"),
    Column("as_trained", "As trained"),
    Column("why", "Why"),
    DIFFERENCE,
    Column("measured", "In"),
    Column("p", "p", p_value),
    Column("p_holm", "p, Holm", p_value),
    Column("images", "Cases", text),
    Column("groups", "Groups", text),
    Column("units", "Test units", text),
    Column("seeds", "Seeds", text),
    Column("source", "Query"),
)


def section(tables: Catalog, naming: Naming) -> Section | None:
    """Each claim in words, per model; below, what is behind every word."""
    rows = [{**row, **_words(row, naming)} for row in tables["claims"].to_pylist()]
    if not rows:
        return None
    blocks: list[Block] = [Note([TOLD])]
    for claim, title in TITLES.items():
        mine = [row for row in rows if row["claim"] == claim]
        blocks += [Note([title]), Note(list(_answers(mine)), bullets=True)]
    table = Table("claims", COLUMNS, rows, query(tables, "claims"), folded="What is behind them")
    return Section("claims", "The claims of the source study", [*blocks, table])


def _words(row: dict[str, Any], naming: Naming) -> dict[str, str]:
    names = [naming(row["study"], row[k]) for k in ("cell", "against") if row[k]]
    metric = METRICS.get(row["metric"]) if row["model"] else None
    return {
        "said": f"{row['statement']}, in {metric}" if metric else row["statement"],
        "task": spaced(row["task"]) if row["task"] else _over(row),
        "name": " − ".join(names) or row["model"] or "",
        "measured": MEASURED.get(row["metric"], ""),
    }


def _over(row: dict[str, Any]) -> str:
    return "all tasks" if row["model"] else ""


def _answers(rows: list[dict[str, Any]]) -> Iterator[str]:
    """One answer per study, statement and metric: over all models and tasks, if there are some."""
    several = len(ordered(rows, "study")) > 1
    for study, said in dict.fromkeys((r["study"], r["said"]) for r in rows):
        mine = [r for r in rows if (r["study"], r["said"]) == (study, said)]
        each = [r for r in mine if r["task"] != "all tasks"]
        where = f"{study}: " if several else ""
        if len(each) > 1 and each[0]["model"]:
            yield f"{where}{said} – {_over_all(mine)}. {_as_trained(each)}"
        else:
            model = f"{each[0]['model']}: " if each[0]["model"] else ""
            yield f"{where}{model}{said} – {each[0]['verdict']}: {_reason(each[0])}"


def _over_all(rows: list[dict[str, Any]]) -> str:
    """The verdict over tasks, or that of each model where they differ."""
    over = [r for r in rows if r["task"] == "all tasks"] or rows
    by: dict[str, list[str]] = {}
    for row in over:
        by.setdefault(row["verdict"], []).append(row["model"] or "")
    if len(by) == 1:
        return next(iter(by))
    return "; ".join(f"{verdict} for {', '.join(models)}" for verdict, models in by.items())


def _as_trained(each: list[dict[str, Any]]) -> str:
    """How often it is so for these networks, by how much, and what keeps it from a verdict."""
    found = Counter(row["as_trained"] for row in each)
    counts = [f"{verdict} in {found[verdict]}" for verdict in FIRST if found[verdict]]
    apart = [row["difference"] for row in each if row["difference"] is not None]
    spread = f" (differences {min(apart):+.3f} to {max(apart):+.3f})" if apart else ""
    told = (
        f"Of {len(each)} comparisons of these networks, as they are: {', '.join(counts)}{spread}."
    )
    open_ones = [row["why"] for row in each if row["verdict"] == "can not be told"]
    kinds = Counter(
        next((kind for mark, kind in KINDS.items() if mark in why), why) for why in open_ones
    )
    whys = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common(3))
    return f"{told} Why it is open: {whys}." if whys else told


def _reason(row: dict[str, Any]) -> str:
    """Why, and the number behind it."""
    told: list[str] = []
    if row["as_trained"] != row["verdict"]:
        told.append(f"of these networks, as they are: {row['as_trained']}")
    if row["difference"] is not None:
        told.append(f"difference {DIFFERENCE.cell(row)}, p {p_value(row['p_holm'])}")
    return f"{row['why']} ({'; '.join(told)})." if told else f"{row['why']}."
