"""``segprint up``: start a described cluster."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.remote.launcher import described, launch, shown


def main(options: Namespace) -> int:
    """Run what does it, or with ``--dry-run`` print it."""
    where = described(options.cluster, "up")
    if not where.up() and not options.dry_run:
        print(
            f"{options.cluster}: each study starts its own; segprint submit {options.cluster} SPACE"
        )
        return 0
    if options.dry_run:
        print(shown(where, None, where.up()))
        return 0
    return launch(where, None, where.up())
