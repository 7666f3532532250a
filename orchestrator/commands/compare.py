"""``segprint compare``: studies, arms or trials, paired over their common test cases.

Two of them are compared with each other, or the arms of one with its baseline.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pandas as pd
import pyarrow as pa

from orchestrator.analyses import catalog
from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import deliver, notice
from orchestrator.formatting import plural
from orchestrator.heldout import paired
from orchestrator.heldout.baselines import against_baseline, called
from orchestrator.heldout.final_cells import IDENTITY, FinalCell, final_cells, without_data
from orchestrator.heldout.metrics import HeldOut, load_metrics
from orchestrator.planning.named_trials import check_unambiguous
from orchestrator.statistics.verdicts import comparison
from orchestrator.views.catalog import Catalog
from trainables.part import unknown

SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("task", "metric", "one", "other")),
        *paired.COLUMNS,
        ("verdict", pa.string()),
    ]
)

HEADINGS = {"difference_method": "method", "false_outperformance": "P(false)"}


def main(options: Namespace) -> int:
    """Print one line per task, metric and pair; return 1 if there is no common test case."""
    tables = catalog(ledger_of(options), metrics=tuple(options.metric))
    finals = list(final_cells(tables))
    one = _chosen(tables, finals, options.one)
    if options.other is None:
        compared, family = _with_baseline(finals, one, options), ("task", "metric")
    else:
        other = _chosen(tables, finals, options.other)
        compared, family = _with_other(one, other, options), ("metric",)
    _name_shared_trials(compared)
    cells = [cell for pair in compared for cell in pair]
    held_out = HeldOut(tables, load_metrics(None, tables.metrics), cells)
    pairs = paired.Pairs(held_out, family=max(1, len(compared)))
    found = [
        {"task": left.task, "one": _label(left), "other": _label(right), **pair.columns}
        for left, right in compared
        for pair in pairs.differences(left, right)
    ]
    found = paired.adjusted(found, *family)
    found = [{**row, "verdict": comparison(paired.advantage(row))} for row in found]
    deliver(pa.Table.from_pylist(found, schema=SCHEMA), options, HEADINGS)
    same_data = all(left.data_hash == right.data_hash for left, right in compared)
    if not found and same_data and (compared or options.other is not None):
        notice(
            "nothing is compared: the two sides have no test case of one task and seed in common"
        )
    return 0 if found else 1


def _with_baseline(
    finals: list[FinalCell], one: list[FinalCell], options: Namespace
) -> list[tuple[FinalCell, FinalCell]]:
    """Return each cell with the baseline of its task; report the cells that have none."""
    study = one[0].study
    name = options.against or one[0].baseline
    if name is None:
        raise ValueError(
            f"compare {options.one}: {study or 'a trial'} names no baseline; name B, or an arm with"
            " --against"
        )
    cells = list({cell.key: cell for cell in (*finals, *one) if cell.study == study}.values())
    known = [(cell.cell, cell.arm) for cell in cells]
    if not called(name, known):
        if options.against is None:
            raise ValueError(f"compare {options.one}: its baseline {name} has no finished trial")
        raise unknown("arm or grid value of --against", name, [arm for _, arm in known])
    chosen = {cell.key for cell in one} - {(study, cell) for cell in called(name, known)}
    compared = [pair for pair in against_baseline(cells, name) if pair[0].key in chosen]
    if not chosen:
        notice(f"nothing is compared: {options.one} has no finished trial but those of {name}")
    for _, cell in sorted(chosen - {left.key for left, _ in compared}):
        notice(f"{study}/{cell} is not compared: its task has no finished trial of {name}")
    return compared


def _with_other(
    one: list[FinalCell], other: list[FinalCell], options: Namespace
) -> list[tuple[FinalCell, FinalCell]]:
    """Return the pairs of two choices; report those whose data differ."""
    if options.against is not None:
        raise ValueError(
            f"--against {options.against}: name B or --against, not both (B: {options.other})"
        )
    if all(len(cell.trials) == 1 for cell in (*one, *other)):  # single trials: of any seed
        one, other = (
            [replace(cell, trials=cell.trials.assign(seed=0)) for cell in side]
            for side in (one, other)
        )
    compared = list(_pairs(one, other))
    for left, right in compared:
        if left.data_hash != right.data_hash:
            notice(
                f"{_label(left)} and {_label(right)} are not compared: the data of"
                f" {without_data(left)} differ ({left.data_hash or 'unknown'} and"
                f" {right.data_hash or 'unknown'})"
            )
    return compared


def _name_shared_trials(compared: list[tuple[FinalCell, FinalCell]]) -> None:
    """Print the pairs of cells that have trials in common."""
    for left, right in compared:
        shared = set(left.digests) & set(right.digests)
        if shared:
            notice(
                f"{_label(left)} and {_label(right)} share"
                f" {plural(len(shared), 'trial')}, which cannot differ"
            )


def _chosen(tables: Catalog, finals: list[FinalCell], selector: str) -> list[FinalCell]:
    """Return the cells of a study, of an arm or cell of it, or of a single trial."""
    name, _, rest = selector.partition("/")
    study, _, code = name.partition("@")
    known = _by_code(tables, study, code) if code else finals
    found = [
        replace(cell, study=name)
        for cell in known
        if cell.study == study and rest in ("", cell.arm, cell.cell)
    ]
    check_unambiguous(selector, rest, ((cell.cell, cell.arm) for cell in found))
    return found or [_trial(tables, finals, selector)]


def _by_code(tables: Catalog, study: str, code: str) -> list[FinalCell]:
    """Return a study's cells as one version of the code trained them, in any revision.

    If that version trained a cell and seed twice, since the space changed, the last one counts.
    """
    cells = list(final_cells(tables, tables.all_revisions(study)))
    by_code = [cell.trials["code"].fillna("").str.startswith(code) for cell in cells]
    found = [
        replace(cell, trials=cell.trials[mask])
        for cell, mask in zip(cells, by_code, strict=True)
        if mask.any()
    ]
    if cells and not found:
        codes = sorted({str(c) for cell in cells for c in cell.trials["code"].dropna()})
        raise ValueError(
            f"'{study}@{code}': no finished final trial of {study} was trained by code that begins"
            f" with {code!r} (choices: {', '.join(codes) or 'none'})"
        )
    return [replace(cell, trials=_last(cell.trials)) for cell in found]


def _last(trials: pd.DataFrame) -> pd.DataFrame:
    return trials.sort_values("ended_at").drop_duplicates("seed", keep="last")


def _trial(tables: Catalog, finals: list[FinalCell], prefix: str) -> FinalCell:
    """Return the finished trial whose digest begins with a text."""
    trials = tables.sql("SELECT * FROM trials WHERE outcome = 'finished'").to_pandas()  # pyright: ignore[reportUnknownMemberType]
    matching = (
        trials[trials["digest"].str.startswith(prefix)] if len(prefix) >= 6 else trials.iloc[:0]
    )
    if len(matching) != 1:
        choices = sorted({w for c in finals for w in (c.study, f"{c.study}/{c.arm}")})
        raise ValueError(
            f"{prefix!r} is not a study, STUDY/ARM, STUDY/CELL or digest with finished final trials"
            f" (choices: {', '.join(choices) or 'none'}, or a digest; STUDY@CODE for the"
            " trials of one version of the code)"
        )
    row = matching.iloc[0]
    identity = {k: str(row[k]) if k in row else "" for k in IDENTITY}
    return FinalCell(**{**identity, "cell": str(row["digest"])}, trials=matching)


def _pairs(one: list[FinalCell], other: list[FinalCell]) -> Iterator[tuple[FinalCell, FinalCell]]:
    """Yield pairs of cells of the same task: equal names if there are any, else all pairs."""
    same = {cell.cell for cell in one} & {cell.cell for cell in other}
    for left, right in product(one, other):
        if without_data(left) == without_data(right) and (not same or left.cell == right.cell):
            yield left, right


def _label(cell: FinalCell) -> str:
    return f"{cell.study}/{cell.cell}" if cell.study else cell.cell
