"""Paired comparisons of arms, ranks over tasks, and interactions of two changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.heldout.paired import advantage
from orchestrator.report import vega
from orchestrator.report.blocks import (
    Block,
    Chart,
    Column,
    Fold,
    IntervalRow,
    Note,
    Section,
    Table,
    first_charts,
    folded,
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
from orchestrator.report.formats import as_text, decimals, interval_name, p_equals, p_value, signed
from orchestrator.statistics.bootstrap import FEWEST

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 40
COLUMNS = (
    Column("task", "Task"),
    Column("metric", "Metric"),
    Column("name", "Arm − other arm"),
    Column("difference", "Difference", decimals(3), interval=True),
    Column("better", "Share of units better", decimals(2)),
    Column("false_outperformance", "P(false outperformance)", p_value),
    Column("p", "p", p_value),
    Column("p_holm", "p (Holm)", p_value),
    Column("seeds", "Seeds", as_text),
    Column("images", "Cases", as_text),
    Column("groups", "Groups", as_text),
)
INTERACTIONS = (
    Column("task", "Task"),
    Column("metric", "Metric"),
    Column("first", "First change"),
    Column("second", "Second change"),
    Column("interaction", "Interaction", decimals(3), interval=True),
    Column("images", "Cases", as_text),
    Column("groups", "Groups", as_text),
    Column("seeds", "Seeds", as_text),
)
RANKED = {"dice": "Dice", "ece": "ECE"}
MAX_PAIRS = 15
"""Pairs per chart: those with the largest differences."""
MOST_CHARTS = 6
"""Charts that are not folded."""
SIGNIFICANT, NOT_SIGNIFICANT = (
    "significant",
    "not significant",
)
BRIEF = (
    "Differences of two arms over the same cases and seeds: with the study's baseline where it"
    " names one, else of every two trained networks. A difference is significant if its 95 %"
    " interval excludes zero, its p value adjusted by Holm's method is at most 0.05, and most"
    " units agree in sign with the mean."
)
NOTE = (
    "Each pair of arms is compared over the cases and seeds that both have, so that the variation"
    " they share cancels. Intervals are 95 % intervals over units and seeds: bootstrap-t for means"
    " over cases, percentile bootstrap for metrics pooled over pixels. A unit is a"
    " group of cases (a patient, slide or slab), or a single case where there are fewer than"
    f" {FEWEST} groups; in the latter case, cases of one patient are treated as independent and p"
    " is too small. The p value is from Wilcoxon's signed-rank test over units, each the mean over"
    " its seeds; for metrics pooled over pixels (ECE and Brier score) it is from a permutation test"
    " that exchanges the two arms within units. It is adjusted by Holm's method over all pairs of a"
    " study, task and metric, or over the comparisons with the baseline where the study names one."
    " P(false outperformance) is the probability that the arm with the better value is not better"
    " (Christodoulou et al. 2025); it is not adjusted for the number of comparisons."
)
INTERACTION_NOTE = (
    "Where a study crosses two changes, the interaction is the effect of both together minus the"
    " sum of their separate effects: it is 0 if the effects are additive."
)


def section(tables: Catalog, names: CellNames) -> Section | None:
    """Return a forest plot of Dice differences per task, rank charts and the table of all pairs."""
    rows = [
        {
            **row,
            "p": row["permutation_p"] if row["wilcoxon_p"] is None else row["wilcoxon_p"],
            "name": f"{names(row['study'], row['cell'])} − {names(row['study'], row['against'])}",
        }
        for row in tables["ablation"].to_pylist()
    ]
    if not rows:
        return None
    table = Table("comparisons", COLUMNS, rows, query(tables, "ablation"))
    forests = [
        _forest(tables, names, [row for row in rows if row["task"] == task], task)
        for task in distinct(rows, "task")
    ]
    twins = {_pair(row) for row in tables["twins"].to_pylist()}
    if all(_pair(row) in twins for row in of_interest(names, rows)):
        shown = folded("Differences in Dice: the pairs of diffusion and its twin, below", forests)
    else:
        shown = first_charts(forests, MOST_CHARTS, f"{len(forests) - MOST_CHARTS} more tasks")
    blocks: list[Block] = [
        Note([BRIEF]),
        *shown,
        Fold(f"Method, and all {len(rows)} comparisons", [Note([NOTE]), table]),
        *folded("Mean ranks over tasks", _rank_charts(tables)),
        *_interactions(tables),
    ]
    return Section("comparisons", "Paired comparisons", blocks)


def _forest(tables: Catalog, names: CellNames, rows: list[dict[str, Any]], task: str) -> Chart:
    pairs = of_interest(names, [row for row in rows if row["metric"] == "dice"])
    pairs.sort(key=lambda r: -abs(r["difference"]))
    largest = sorted(pairs[:MAX_PAIRS], key=lambda r: -r["difference"])
    shown = [interval_row(row["name"], significance(row), row, "difference") for row in largest]
    omitted = ""
    if len(pairs) > MAX_PAIRS:
        omitted = f" The chart shows the {MAX_PAIRS} largest of {len(pairs)} differences."
    size = "no cases"
    if pairs:
        size = f"{sample_size(pairs[0])} and {plural(pairs[0]['seeds'], 'seed')}"
    return Chart(
        f"comparison-{task}-dice",
        f"{readable(task)}: differences in Dice",
        "; ".join(f"{r['name']} {signed(r['value'])}" for r in shown[:4]),
        f"Bars are {interval_name(pairs, 'difference')} over {size}.{omitted}",
        query(tables, "ablation", f"task = '{task}'", "metric = 'dice'"),
        vega.forest(
            vega.styles([SIGNIFICANT, NOT_SIGNIFICANT]),
            vega.quantitative("difference in Dice"),
            len(shown),
            zero=True,
        ),
        shown,
        key=f"● {SIGNIFICANT}; ■ {NOT_SIGNIFICANT}.",
        small=vega.fits_small(r["name"] for r in rows),
    )


def _pair(row: dict[str, Any]) -> tuple[str, frozenset[str]]:
    return row["study"], frozenset((row["cell"], row["against"]))


def of_interest(names: CellNames, pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the pairs that each study asks for; without any, those of trained networks, or all."""
    found: list[dict[str, Any]] = []
    for study in distinct(pairs, "study"):
        of_study = [row for row in pairs if row["study"] == study]
        asked = [row for row in of_study if row["baseline"]]
        networks = [row for row in of_study if not names.is_trivial(row, "cell", "against")]
        found += asked or networks or of_study
    return found


def significance(row: dict[str, Any]) -> str:
    """Return the name of the series that a difference belongs to."""
    return SIGNIFICANT if advantage(row) else NOT_SIGNIFICANT


def _rank_charts(tables: Catalog) -> list[Chart]:
    """Return the mean ranks over all tasks, for studies with at least three arms."""
    rows = [row for row in tables["ranks"].to_pylist() if row["metric"] in RANKED]
    several = len(distinct(rows, "study")) > 1
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["study"], row["metric"]), []).append(row)
    return [
        _rank_chart(tables, sorted(arms, key=lambda r: r["mean_rank"]), f"{study}: " * several)
        for (study, _), arms in groups.items()
    ]


def _rank_chart(tables: Catalog, arms: list[dict[str, Any]], prefix: str) -> Chart:
    first = arms[0]
    metric = first["metric"]
    half = first["critical_difference"] / 2
    shown: list[IntervalRow] = [
        {
            "name": readable(row["arm"]),
            "series": "mean rank",
            "value": row["mean_rank"],
            "low": row["mean_rank"] - half,
            "high": row["mean_rank"] + half,
            "images": row["blocks"],
        }
        for row in arms[:MAX_PAIRS]
    ]
    omitted = ""
    if len(arms) > MAX_PAIRS:
        omitted = f" The chart shows the {MAX_PAIRS} best of {len(arms)} arms."
    return Chart(
        f"ranks-{first['study']}-{metric}",
        f"{prefix}Mean rank in {RANKED[metric]} over {plural(first['tasks'], 'task')}",
        "; ".join(f"{r['name']} {r['value']:.2f}" for r in shown),
        f"Rank 1 is best; n = {first['blocks']} units of all tasks. Two arms differ significantly"
        " at the 5 % level, adjusted for all pairs, if their bars do not overlap (Nemenyi test;"
        f" Demšar 2006). Friedman test: {p_equals(first['friedman_p'])}. The blocks of the test are"
        " units and not data sets, so the result is limited to these tasks, and the task with the"
        f" most units has the largest weight.{omitted}",
        query(tables, "ranks", f"metric = '{metric}'"),
        vega.forest(
            vega.styles(["mean rank"]), vega.quantitative("mean rank", zero=False), len(shown)
        ),
        shown,
    )


def _interactions(tables: Catalog) -> list[Block]:
    """Return the interactions of two changes, where a study crosses them."""
    rows = [
        {
            **row,
            "first": f"{row['axis']}: {row['axis_from']} → {row['axis_to']}",
            "second": f"{row['other_axis']}: {row['other_from']} → {row['other_to']}",
        }
        for row in tables["interactions"].to_pylist()
    ]
    if not rows:
        return []
    table = Table("interactions", INTERACTIONS, rows, query(tables, "interactions"))
    return [Fold(f"All {len(rows)} interactions of two changes", [Note([INTERACTION_NOTE]), table])]
