"""``segprint show``: a space's question and cells, or a committed trial."""

from __future__ import annotations

import json
import re
from argparse import Namespace

import search_spaces
from orchestrator.cells import check
from orchestrator.commands import emit, ledger_of
from search_spaces import walk


def main(options: Namespace) -> int:
    """Print a trial if the argument looks like a digest, else a space."""
    if re.fullmatch(r"[0-9a-f]{16}", options.what):
        return _trial(options)
    name, space = search_spaces.load(options.what)
    rows = [
        {
            "cell": cell.name,
            "arm": cell.arm,
            "trials": space.search.trials if cell.searched and space.search else 0,
            "finals": space.replicates,
            "searches": ", ".join(path for path, _ in walk(cell.template)) or "nothing",
        }
        for cell in check(space)
    ]
    if not options.json:
        print(f"{name}: {space.question}\n")
    headings = {
        "cell": "cell",
        "trials": "search trials",
        "finals": "final trials",
        "searches": "searches",
    }
    emit(rows, headings, options.json)
    return 0


def _trial(options: Namespace) -> int:
    rows = ledger_of(options).table("trials", [options.what]).to_pylist()
    if not rows:
        raise ValueError(f"no committed trial has the digest {options.what!r}")
    for row in rows:
        row["config"] = json.loads(row["config"])
    print(json.dumps(rows[0], indent=1, default=str))
    return 0
