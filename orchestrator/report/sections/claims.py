"""The verdict of these data on each claim of the source study, and the evidence for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.claims.convergence import BELOW, LEARNING
from orchestrator.formatting import plural
from orchestrator.report.blocks import Block, Column, Fold, Heading, Note, Section, Table
from orchestrator.report.cell_names import CellNames, distinct, query, readable
from orchestrator.report.formats import as_text, decimals, p_equals, p_value, signed

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 15
INCONCLUSIVE = "inconclusive"
NOTE = (
    "Öttl et al. (arXiv 2403.14440) report four findings about diffusion models for segmentation."
    " The verdict of these data on each finding is: holds, does not hold, or inconclusive. A"
    " finding holds, or does not hold, only if the 95 % interval of the paired difference over the"
    " same cases and seeds excludes zero, most test units agree in sign with the mean, and the p"
    " value, adjusted by Holm's method, is at most 0.05. Test units are"
    " patients, or cases where there are fewer than six patients. The verdict is inconclusive for"
    " a network that was still learning at the end of its training, and for one whose validation"
    " score is below that of the grey-level baseline; the column “As trained” gives the verdict"
    " without this restriction."
)
TITLES = {
    1: "Claim 1: diffusion is better calibrated than its feed-forward twin, and less accurate than"
    " nnU-Net and SegFormer",
    2: "Claim 2: at some timesteps the image adds little, because the noisy mask suffices",
    3: "Claim 3: the loss over timesteps is not monotone",
    4: "Claim 4: each task has its own timestep fingerprint",
}
METRICS = {"ece": "ECE", "dice": "Dice", "iou": "IoU"}
QUANTITIES = {
    **METRICS,
    "share": "share of the error that the image removes, minus 5 %",
    "loss": "ε-error",
    "wasserstein": "λ",
}
VERDICTS = ("holds", "does not hold", INCONCLUSIVE)
REASONS = {
    BELOW: "a network scores below the grey-level baseline in validation",
    LEARNING: "a network was still learning",
    "may be chance": "the difference may be chance",
}
"""Maps a phrase within a reason to the name under which such reasons are counted."""
DIFFERENCE = Column("difference", "Difference", decimals(3), interval=True)
COLUMNS = (
    Column("claim", "Claim", as_text),
    Column("finding", "Statement about diffusion"),
    Column("task", "Task"),
    Column("name", "Arms"),
    Column("verdict", "Verdict"),
    Column("as_trained", "As trained"),
    Column("why", "Reason"),
    DIFFERENCE,
    Column("quantity", "Quantity"),
    Column("p", "p", p_value),
    Column("p_holm", "p (Holm)", p_value),
    Column("images", "Cases", as_text),
    Column("groups", "Groups", as_text),
    Column("units", "Test units", as_text),
    Column("seeds", "Seeds", as_text),
    Column("source", "Query"),
)


def section(tables: Catalog, names: CellNames) -> Section | None:
    """Return the verdict on each claim in sentences, and a table with the evidence."""
    rows = [{**row, **_texts(row, names)} for row in tables["claims"].to_pylist()]
    if not rows:
        return None
    details: list[Block] = [Note([NOTE])]
    for claim, title in TITLES.items():
        verdicts = _sentences([row for row in rows if row["claim"] == claim])
        details += [Heading(title), Note(list(verdicts), bullets=True)]
    table = Table("claims", COLUMNS, rows, query(tables, "claims"))
    blocks: list[Block] = [
        Note([_brief(rows, claim) for claim in TITLES], bullets=True),
        Fold("Verdicts with their reasons and method", details),
        Fold(f"Evidence: all {len(rows)} comparisons", [table]),
    ]
    return Section("claims", "Claims of the source study", blocks)


def _brief(rows: list[dict[str, Any]], claim: int) -> str:
    """Return the verdict on all statements of a claim, or the count of each, and the reasons."""
    of_claim = [row for row in rows if row["claim"] == claim]
    count = Counter(row["verdict"] for row in of_claim)
    verdicts = [verdict for verdict in VERDICTS if count[verdict]]
    if len(verdicts) < 2:
        verdict = verdicts[0] if verdicts else "not tested"
    else:
        verdict = ", ".join(f"{v} in {plural(count[v], 'comparison')}" for v in verdicts)
    reasons = _reasons(of_claim)
    return f"{TITLES[claim]}: {verdict}{f', because {reasons}' if reasons else ''}."


def _texts(row: dict[str, Any], names: CellNames) -> dict[str, str]:
    cells = [names(row["study"], row[k]) for k in ("cell", "against") if row[k]]
    metric = METRICS.get(row["metric"]) if row["model"] else None
    all_tasks = "all tasks" if row["model"] else ""
    return {
        "finding": f"{row['statement']}, in {metric}" if metric else row["statement"],
        "task": readable(row["task"]) if row["task"] else all_tasks,
        "name": " − ".join(cells) or row["model"] or "",
        "quantity": QUANTITIES.get(row["metric"], ""),
    }


def _sentences(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield one verdict per study, statement and metric: over all models and tasks if several."""
    has_several_studies = len(distinct(rows, "study")) > 1
    for study, finding in dict.fromkeys((r["study"], r["finding"]) for r in rows):
        group = [r for r in rows if (r["study"], r["finding"]) == (study, finding)]
        comparisons = [r for r in group if r["task"] != "all tasks"]
        prefix = f"{study}: " if has_several_studies else ""
        first = comparisons[0]
        if len(comparisons) > 1 and first["model"]:
            yield f"{prefix}{finding} – {_overall(group)}. {_as_trained(comparisons)}"
        else:
            model = f"{first['model']}: " if first["model"] else ""
            yield f"{prefix}{model}{finding} – {first['verdict']}: {_reason(first)}"


def _overall(rows: list[dict[str, Any]]) -> str:
    """Return the verdict over tasks, or that of each model where they differ."""
    over_tasks = [r for r in rows if r["task"] == "all tasks"] or rows
    models_of: dict[str, list[str]] = {}
    for row in over_tasks:
        models_of.setdefault(row["verdict"], []).append(row["model"] or "")
    if len(models_of) == 1:
        return next(iter(models_of))
    return "; ".join(f"{verdict} for {', '.join(models)}" for verdict, models in models_of.items())


def _as_trained(comparisons: list[dict[str, Any]]) -> str:
    """Return the counts of verdicts on the networks as trained, and why some are inconclusive."""
    count = Counter(row["as_trained"] for row in comparisons)
    counts = [f"{verdict} in {count[verdict]}" for verdict in VERDICTS if count[verdict]]
    differences = [row["difference"] for row in comparisons if row["difference"] is not None]
    span = ""
    if differences:
        span = f" (differences {signed(min(differences))} to {signed(max(differences))})"
    sentence = f"In {len(comparisons)} comparisons of the networks as trained: "
    sentence += f"{', '.join(counts)}{span}."
    listed = _reasons(comparisons)
    return f"{sentence} Reasons for an inconclusive verdict: {listed}." if listed else sentence


def _reasons(rows: list[dict[str, Any]]) -> str:
    """Return the most frequent reasons for an inconclusive verdict, with their counts."""
    reasons = Counter(
        next((name for phrase, name in REASONS.items() if phrase in row["why"]), row["why"])
        for row in rows
        if row["verdict"] == INCONCLUSIVE
    )
    return ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))


def _reason(row: dict[str, Any]) -> str:
    """Return the reason for a verdict, with the difference and its p value."""
    details: list[str] = []
    if row["as_trained"] != row["verdict"]:
        details.append(f"the networks as trained: {row['as_trained']}")
    if row["difference"] is not None:
        details.append(f"difference {DIFFERENCE.cell(row)}, {p_equals(row['p_holm'])}")
    return f"{row['why']} ({'; '.join(details)})." if details else f"{row['why']}."
