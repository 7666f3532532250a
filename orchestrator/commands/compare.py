"""``segprint compare``: two studies, arms or trials on the cases that both were tested on."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from itertools import product

import pandas as pd
import pyarrow as pa

from orchestrator.analyses import catalog
from orchestrator.commands import ledger_of
from orchestrator.commands.output import deliver
from orchestrator.heldout import metrics, paired
from orchestrator.heldout.metrics import ABOUT, HeldOut, MeasuredCell
from orchestrator.views.catalog import Catalog

SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("task", "metric", "one", "other")),
        *((k, pa.int64()) for k in paired.COUNTS),
        *((k, pa.float64()) for k in paired.NUMBERS),
    ]
)


def main(options: Namespace) -> int:
    """One line per task, metric and pair; 1 if there is nothing that both were tested on."""
    tables = catalog(ledger_of(options))
    finals = list(metrics.final_cells(tables))
    one, other = (_chosen(tables, finals, word) for word in (options.one, options.other))
    if all(len(trials) == 1 for _, trials in (*one, *other)):  # by whatever seed
        one, other = ([(a, t.assign(seed=0)) for a, t in side] for side in (one, other))
    pairs = paired.Pairs(HeldOut(tables, metrics.metrics(), [*one, *other]))
    found = [
        {
            "task": about["task"],
            "one": _label(about),
            "other": _label(against),
            **row,
        }
        for (about, trials), (against, others) in _pairs(one, other)
        for row in pairs.differences(trials, others)
    ]
    found = paired.adjusted(found, "metric")
    deliver(pa.Table.from_pylist(found, schema=SCHEMA), options)
    return 0 if found else 1


def _chosen(tables: Catalog, finals: list[MeasuredCell], word: str) -> list[MeasuredCell]:
    """The cells that a word names: a study, an arm or a cell of one, or a single trial."""
    name, _, rest = word.partition("/")
    study, _, code = name.partition("@")
    known = _by_code(tables, study, code) if code else finals
    found = [
        ({**about, "study": name}, trials)
        for about, trials in known
        if about["study"] == study and rest in ("", about["arm"], about["cell"])
    ]
    return found or [_trial(tables, finals, word)]


def _by_code(tables: Catalog, study: str, code: str) -> list[MeasuredCell]:
    """A study's cells as one version of the code trained them, in whichever revision of it.

    Where that version trained a cell and seed twice, since the space changed, the last one counts.
    """
    cells = list(metrics.final_cells(tables, tables.ever(study)))
    found = [(a, t[t["code"].fillna("").str.startswith(code)]) for a, t in cells]
    if cells and not any(len(trials) for _, trials in found):
        codes = sorted({str(c) for _, trials in cells for c in trials["code"].dropna()})
        raise ValueError(
            f"'{study}@{code}': no finished final trial of {study} was trained by code that begins"
            f" with {code!r} (choices: {', '.join(codes) or 'none'})"
        )
    return [(a, _last(trials)) for a, trials in found if len(trials)]


def _last(trials: pd.DataFrame) -> pd.DataFrame:
    return trials.sort_values("ended_at").drop_duplicates("seed", keep="last")


def _trial(tables: Catalog, finals: list[MeasuredCell], word: str) -> MeasuredCell:
    """The finished trial whose digest begins with a word."""
    trials = tables.sql("SELECT * FROM trials WHERE outcome = 'finished'").to_pandas()
    mine = trials[trials["digest"].str.startswith(word)] if len(word) >= 6 else trials.iloc[:0]
    if len(mine) != 1:
        choices = sorted({w for a, _ in finals for w in (a["study"], f"{a['study']}/{a['arm']}")})
        raise ValueError(
            f"{word!r} is no study, STUDY/ARM, STUDY/CELL or digest with finished final trials"
            f" (choices: {', '.join(choices) or 'none'}, or a digest; STUDY@CODE for what one"
            " version of the code trained)"
        )
    row = mine.iloc[0]
    about = {k: str(row[k]) if k in row else "" for k in ABOUT}
    return {**about, "cell": str(row["digest"])}, mine


def _pairs(
    one: list[MeasuredCell], other: list[MeasuredCell]
) -> Iterator[tuple[MeasuredCell, MeasuredCell]]:
    """Cells of the same task: those of the same name if there are any, else each with each."""
    same = {about["cell"] for about, _ in one} & {about["cell"] for about, _ in other}
    for left, right in product(one, other):
        alike = not same or left[0]["cell"] == right[0]["cell"]
        if left[0]["task"] == right[0]["task"] and alike:
            yield left, right


def _label(about: dict[str, str]) -> str:
    return f"{about['study']}/{about['cell']}" if about["study"] else about["cell"]
