"""Accuracy and calibration of all final arms, with intervals and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.formatting import clock, memory, plural
from orchestrator.heldout.paired import advantage
from orchestrator.report import vega
from orchestrator.report.arms import arms_table
from orchestrator.report.blocks import (
    Block,
    Chart,
    Column,
    Fold,
    Note,
    Section,
    Table,
    first_charts,
    folded,
    interval_row,
)
from orchestrator.report.caveats import caveats
from orchestrator.report.cell_names import (
    GREY_LEVEL,
    CellNames,
    case_noun,
    query,
    readable,
    sample_size,
)
from orchestrator.report.formats import as_text, decimals, interval_name, p_equals, p_value, signed
from orchestrator.statistics.bootstrap import FEWEST
from orchestrator.statistics.verdicts import comparison

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 10
TASK, ARM = Column("task", "Task"), Column("series", "Arm")
TRAINED_ON = Column("trained_on", "Trained on")
"""A column where a row is an external test."""
COLUMNS = (
    Column("dice", "Dice ↑", decimals(3), interval=True),
    Column("hd95", "HD95, pixels ↓", decimals(1), interval=True),
    Column("ece", "ECE ↓", decimals(3), interval=True),
    Column("seeds", "Seeds", as_text),
    Column("size", "Test cases"),
    Column("passes_per_image", "Passes per case", as_text),
)
MORE = (
    Column("dice_foreground", "Dice of cases with foreground ↑", decimals(3), interval=True),
    Column("empty_kept", "Share of empty cases kept empty ↑", decimals(2)),
    Column("iou", "IoU ↑", decimals(3), interval=True),
    Column("nsd", "NSD at 2 pixels ↑", decimals(3), interval=True),
    Column("brier", "Brier ↓", decimals(3)),
    Column("images", "Cases", as_text),
    Column("groups", "Groups", as_text),
    Column("seconds_per_image", "Seconds per case", decimals(3)),
    Column(
        "train_device_seconds", "Training time", lambda v: as_text(v) if v is None else clock(v)
    ),
    Column("memory", "Peak memory", as_text),
    Column("parameters", "Parameters", decimals(0)),
    Column("model", "Model"),
)
MOST_CHARTS = 6
"""Charts that are not folded."""
MAX_ARMS = 20
"""Arms per chart; the table has all."""
METRICS = (("dice", "Dice, higher is better"), ("ece", "ECE, lower is better"))
NOTE = (
    "Means over the test cases. Brackets are 95 % intervals over {units} and training seeds. Dice"
    " is the overlap of predicted and true mask; HD95 the 95 % quantile of the distance between"
    " their surfaces, or the diagonal of the image where one of them is empty; ECE the expected"
    " calibration error, the mean over all pixels of the gap between the predicted probability of"
    " a class and the share of pixels that belong to it, in 15 bins of equal width."
)
METHOD = (
    "Dice and HD95 are computed per case and class, and have bootstrap-t intervals; ECE and the"
    " Brier score are pooled over the pixels of all cases, and have percentile bootstrap"
    " intervals, which are too narrow for few units. Units are groups (patients, slides or"
    f" slabs), or cases for a task with fewer than {FEWEST} groups. Times are device-seconds."
)
BASELINE_NOTE = (
    "Each network is compared with the baselines that use grey levels only, paired over cases and"
    " seeds. A difference is significant if its 95 % interval excludes zero, its p value, adjusted"
    " by Holm's method, is at most 0.05, and most units agree in sign with the mean."
)


def section(tables: Catalog, names: CellNames) -> Section:
    """Return the table, per task a chart of Dice and one of ECE, and the baseline comparisons."""
    board = names.add_series(tables["leaderboard"].to_pylist())
    if not board:
        note = Note(["No final trial has finished, so there are no results to rank."])
        return Section("leaderboard", "Leaderboard", [note])
    source = query(tables, "leaderboard")
    rows = [{**row, "memory": memory(row), "size": _size(row)} for row in board]
    external = any(row["trained_on"] != row["task"] for row in rows)
    first = (TASK, TRAINED_ON, ARM) if external else (TASK, ARM)
    of_dice, of_ece = (
        [_chart(names, board, task, *metric, source) for task in names.tasks] for metric in METRICS
    )
    blocks: list[Block] = [
        Note([NOTE.format(units=_units(board))]),
        Table("leaderboard", (*first, *COLUMNS), rows, source),
        Note(caveats(board), bullets=True),
        *first_charts(of_dice, MOST_CHARTS, f"Dice of {len(of_dice) - MOST_CHARTS} more tasks"),
        *folded("ECE of every arm", of_ece),
        Fold("What the arms are", [arms_table(board, source)]),
        Fold("Further metrics, cost and method", [Note([METHOD]), _further(rows, first, source)]),
    ]
    sentences = baseline_comparisons(tables, board)
    note = Note([BASELINE_NOTE])
    title = "Every network against the baselines that use grey levels only"
    if sentences:
        blocks.append(Fold(title, [note, Note(sentences, bullets=True)]))
    return Section("leaderboard", "Leaderboard", blocks, list(names.styles(board)))


def _size(row: Mapping[str, Any]) -> str:
    return sample_size(row, case_noun(row))


def _further(rows: list[dict[str, Any]], first: Sequence[Column], source: str) -> Table:
    return Table("leaderboard-more", (*first, *MORE), rows, source)


def _units(board: list[dict[str, Any]]) -> str:
    """Return the name of what the intervals of all tasks are over."""
    few = [row["groups"] < FEWEST for row in board]
    return "cases" if all(few) else "cases or groups" if any(few) else "groups"


def _chart(
    names: CellNames, board: list[dict[str, Any]], task: str, metric: str, title: str, source: str
) -> Chart:
    arms = [r for r in board if r["task"] == task and r[metric] is not None]
    arms.sort(key=lambda r: r[metric], reverse=metric == "dice")
    rows = [interval_row(r["series"], r["series"], r, metric) for r in arms[:MAX_ARMS]]
    omitted = f" The best {MAX_ARMS} of {len(arms)} arms." if len(arms) > MAX_ARMS else ""
    size = f"{_size(arms[0])} and {plural(arms[0]['seeds'], 'seed')}" if arms else "no cases"
    return Chart(
        f"leaderboard-{task}-{metric}",
        f"{readable(task)}: {title}",
        "; ".join(f"{r['name']} {r['value']:.3f}" for r in rows[:6]),
        f"Bars are {interval_name(arms, metric)} over {size}.{omitted}",
        source,
        vega.forest(names.styles(rows), vega.quantitative(title, zero=False), len(rows)),
        rows,
        small=vega.fits_small(r["series"] for r in board),
    )


def baseline_comparisons(tables: Catalog, board: list[dict[str, Any]]) -> list[str]:
    """Return a sentence per task, network and baseline: how their Dice differs, paired by case."""
    cells = {(row["study"], row["cell"]): row for row in board}
    sentences: list[str] = []
    for pair in tables["ablation"].to_pylist():
        one, other = (cells.get((pair["study"], pair[side])) for side in ("cell", "against"))
        if pair["metric"] != "dice" or one is None or other is None:
            continue
        if (one["model"] == GREY_LEVEL) != (other["model"] == GREY_LEVEL):
            sentences.append(_sentence(pair, one, other))
    return sorted(sentences)


def _sentence(pair: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> str:
    """Return the comparison with the network as its subject."""
    sign = int(advantage(pair))
    difference, low, high = (pair[k] for k in ("difference", "difference_low", "difference_high"))
    network, baseline = one, other
    if one["model"] == GREY_LEVEL:
        network, baseline = other, one
        ends = (None if end is None else -end for end in (difference, high, low))
        sign, (difference, low, high) = -sign, ends
    verb = comparison(
        sign,
        "has a higher Dice than",
        "has a lower Dice than",
        "does not differ significantly in Dice from",
    )
    name = network["series"]
    if not name.startswith(network["model"]):
        name = f"{network['model']} {name}"
    return (
        f"{readable(network['task'])}: {name}"
        f" {verb} {baseline['series']}"
        f" (difference {signed(difference)} [{signed(low)}, {signed(high)}],"
        f" {p_equals(pair['p_holm'])}, P(false outperformance)"
        f" {p_value(pair['false_outperformance'])})."
    )
