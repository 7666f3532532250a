"""``segprint up``: start a described cluster."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.remote.launcher import described, launch, shown


def main(options: Namespace) -> int:
    """Run the cluster's start commands, or print them with ``--dry-run``."""
    where = described(options.cluster, "up")
    if not where.up() and not options.dry_run:
        print(
            f"{options.cluster}: every study starts its own cluster;"
            f" segprint submit {options.cluster} SPACE"
        )
        return 0
    if options.dry_run:
        print(shown(where, None, where.up()))
        return 0
    return launch(where, None, where.up())
