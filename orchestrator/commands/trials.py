"""``segprint trials``: committed trials with their slots in studies and their test Dice."""

from __future__ import annotations

from argparse import Namespace

import pyarrow as pa

from orchestrator.commands.options import catalog_of
from orchestrator.commands.output import deliver
from orchestrator.views.catalog import Catalog
from orchestrator.views.sql_sandbox import QueryError

COLUMNS = (
    "study, arm, stage, index, task, model, mode, schedule, seed, outcome, steps, score, dice,"
    " device_seconds, ended_at, digest"
)
LISTED = """
SELECT {columns} FROM (
    SELECT trials.*, studies.study, studies.cell, studies.arm, studies.stage, studies.index,
           studies.searched, held_out.dice
    FROM trials
    LEFT JOIN studies USING (digest)
    LEFT JOIN (
        SELECT digest, avg(coalesce(2 * tp / nullif(2 * tp + fp + fn, 0), 1)) AS dice
        FROM cases WHERE split = 'test' AND reading = 'sample' GROUP BY digest
    ) AS held_out USING (digest)
) WHERE {where} ORDER BY study, task, score DESC
"""
"""``dice`` is the mean over test cases and classes (:mod:`trainables.metrics.dice`)."""


def main(options: Namespace) -> int:
    """Print one line per trial and study."""
    deliver(listed(catalog_of(options), options.where, hard=True), options)
    return 0


def listed(tables: Catalog, where: str | None, *, hard: bool = False) -> pa.Table:
    """Return one row per trial and study that satisfies a condition in SQL.

    Raises:
        QueryError: the condition is wrong; names it.
    """
    query = LISTED.format(columns=COLUMNS, where=f"({where or 'true'}\n)")
    try:
        return tables.sql(query, hard=hard)
    except QueryError as error:
        raise QueryError(f"--where {where or 'true'!r}: {error}") from None
