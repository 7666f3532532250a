"""``segprint down``: stop a described cluster and all that costs money; results stay."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.launch import described, launch, shown


def main(options: Namespace) -> int:
    """Run what does it, or with ``--dry-run`` print it."""
    where = described(options.cluster, "down")
    if options.dry_run:
        print(shown(where, None, where.down()))
        return 0
    return launch(where, None, where.down())
