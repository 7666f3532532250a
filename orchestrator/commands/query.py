"""``segprint query``: SQL over everything committed."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.commands import emit, ledger_of
from orchestrator.tables import Tables


def main(options: Namespace) -> int:
    """Print the result of one SELECT."""
    result = Tables(ledger_of(options)).sql(options.sql)
    columns = {name: name for name in result.column_names}
    emit(result.to_pylist(), columns, options.json)
    return 0
