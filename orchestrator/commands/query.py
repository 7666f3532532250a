"""``segprint query``: SQL over all committed rows."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.analyses import catalog
from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import deliver


def main(options: Namespace) -> int:
    """Print the result of one SELECT, or write it to a file."""
    tables = catalog(ledger_of(options), (), options.version, tuple(options.metric))
    result = tables.sql(options.sql, hard=True)
    deliver(result, options)
    return 0
