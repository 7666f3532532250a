"""``segprint export``: a plain Parquet tree for programs that do not know Segprint."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.commands import console, tables_of
from orchestrator.export import export


def main(options: Namespace) -> int:
    """Write the tree; says what is in it."""
    files, rows = export(tables_of(options), options.output)
    console().print(f"{rows} rows in {files} files below {options.output}")
    return 0
