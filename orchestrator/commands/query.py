"""``segprint query``: SQL over everything committed."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.commands import ledger_of
from orchestrator.commands.output import deliver
from orchestrator.views.catalog import Catalog


def main(options: Namespace) -> int:
    """Print the result of one SELECT, or write it to a file."""
    result = Catalog(ledger_of(options), version=options.version).sql(options.sql, hard=True)
    deliver(result, options)
    return 0
