"""Accuracy and calibration of all final arms, with intervals and costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.formatting import clock, memory, plural
from orchestrator.heldout.paired import advantage
from orchestrator.report import vega
from orchestrator.report.blocks import (
    Block,
    Chart,
    Column,
    Heading,
    Note,
    Section,
    Table,
    interval_row,
)
from orchestrator.report.cell_names import CellNames, query, readable, sample_size
from orchestrator.report.formats import as_text, decimals, interval_name, p_equals, p_value, signed
from orchestrator.statistics.bootstrap import FEWEST
from orchestrator.statistics.verdicts import comparison

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 10
BASELINE = "intensity"
"""The model that predicts a pixel's class from its grey level alone."""
COLUMNS = (
    Column("task", "Task"),
    Column("series", "Arm"),
    Column("dice", "Dice ↑", decimals(3), interval=True),
    Column("iou", "IoU ↑", decimals(3), interval=True),
    Column("ece", "ECE ↓", decimals(3), interval=True),
    Column("brier", "Brier ↓", decimals(3)),
    Column("seeds", "Seeds", as_text),
    Column("images", "Cases", as_text),
    Column("groups", "Groups", as_text),
    Column("passes_per_image", "Passes per case", as_text),
    Column("seconds_per_image", "Seconds per case", decimals(3)),
    Column(
        "train_device_seconds", "Training time", lambda v: as_text(v) if v is None else clock(v)
    ),
    Column("memory", "Peak memory", as_text),
    Column("parameters", "Parameters", decimals(0)),
    Column("model", "Model"),
)
EXTERNAL = (COLUMNS[0], Column("trained_on", "Trained on"), *COLUMNS[1:])
"""The columns where a row is an external test."""
MAX_ARMS = 20
"""Arms per chart; the table has all."""
METRICS = (("dice", "Dice, higher is better"), ("ece", "ECE, lower is better"))
NOTE = (
    "Results on the test cases (tiles or whole images), ordered by Dice within a task. Brackets are"
    " 95 % intervals over groups (patients, slides or slabs) and training seeds: bootstrap-t for"
    " means over cases such as Dice, percentile bootstrap for ECE (15 bins of equal width) and the"
    f" Brier score, which are pooled over pixels. For a task with fewer than {FEWEST} groups the"
    " intervals are over cases and do not extend to other patients. Times are device-seconds."
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
    rows = [{**row, "memory": memory(row)} for row in board]
    charts = [
        _chart(names, board, task, *metric, source) for task in names.tasks for metric in METRICS
    ]
    columns = EXTERNAL if any(row["trained_on"] != row["task"] for row in rows) else COLUMNS
    blocks: list[Block] = [Note([NOTE]), Table("leaderboard", columns, rows, source), *charts]
    sentences = baseline_comparisons(tables, board)
    if sentences:
        blocks.append(Heading("Comparison with the grey-level baselines"))
        blocks += [Note([BASELINE_NOTE]), Note(sentences, bullets=True)]
    return Section("leaderboard", "Leaderboard", blocks, list(names.styles(board)))


def _chart(
    names: CellNames, board: list[dict[str, Any]], task: str, metric: str, title: str, source: str
) -> Chart:
    arms = [r for r in board if r["task"] == task and r[metric] is not None]
    arms.sort(key=lambda r: r[metric], reverse=metric == "dice")
    rows = [interval_row(r["series"], r["series"], r, metric) for r in arms[:MAX_ARMS]]
    omitted = f" The best {MAX_ARMS} of {len(arms)} arms." if len(arms) > MAX_ARMS else ""
    size = f"{sample_size(arms[0])} and {plural(arms[0]['seeds'], 'seed')}" if arms else "no cases"
    return Chart(
        f"leaderboard-{task}-{metric}",
        f"{readable(task)}: {title}",
        "; ".join(f"{r['name']} {r['value']:.3f}" for r in rows[:6]),
        f"Bars are {interval_name(arms, metric)} over {size}.{omitted}",
        source,
        vega.forest(names.styles(rows), vega.quantitative(title, zero=False), len(rows)),
        rows,
    )


def baseline_comparisons(tables: Catalog, board: list[dict[str, Any]]) -> list[str]:
    """Return a sentence per task, network and baseline: how their Dice differs, paired by case."""
    cells = {(row["study"], row["cell"]): row for row in board}
    sentences: list[str] = []
    for pair in tables["ablation"].to_pylist():
        one, other = (cells.get((pair["study"], pair[side])) for side in ("cell", "against"))
        if pair["metric"] != "dice" or one is None or other is None:
            continue
        if (one["model"] == BASELINE) != (other["model"] == BASELINE):
            sentences.append(_sentence(pair, one, other))
    return sorted(sentences)


def _sentence(pair: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> str:
    """Return the comparison with the network as its subject."""
    sign = int(advantage(pair))
    difference, low, high = (pair[k] for k in ("difference", "difference_low", "difference_high"))
    network, baseline = one, other
    if one["model"] == BASELINE:
        network, baseline = other, one
        ends = (None if end is None else -end for end in (difference, high, low))
        sign, (difference, low, high) = -sign, ends
    verb = comparison(
        sign,
        "has a higher Dice than",
        "has a lower Dice than",
        "does not differ significantly in Dice from",
    )
    return (
        f"{readable(network['task'])}: {network['model']} {network['series']}"
        f" {verb} {baseline['series']}"
        f" (difference {signed(difference)} [{signed(low)}, {signed(high)}],"
        f" {p_equals(pair['p_holm'])}, P(false outperformance)"
        f" {p_value(pair['false_outperformance'])})."
    )
