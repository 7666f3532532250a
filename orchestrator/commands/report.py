"""``segprint report``: the page that people will show."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from orchestrator.commands import tables_of
from orchestrator.report import write


def main(options: Namespace) -> int:
    """Write the page and name the files."""
    for path in write(tables_of(options), Path(options.output)):
        print(path)
    return 0
