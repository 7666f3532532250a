"""``segprint down``: stop a described cluster and all that costs money; results stay."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.remote.launcher import described, launch, shown, studies


def main(options: Namespace) -> int:
    """Run what does it, or with ``--dry-run`` print it; a study that runs there stops it."""
    where = described(options.cluster, "down")
    asked = [] if options.force else where.status()
    if options.dry_run:
        print(shown(where, None, [*asked, *where.down()]))
        return 0
    force = f"segprint down {options.cluster} --force"
    try:
        running = {} if options.force else studies(where)
    except ValueError as error:
        if "is not installed here" in str(error):
            raise
        raise ValueError(f"whether a study runs there is not known: {error}; {force}") from error
    if running:
        listed = ", ".join(f"{name} ({state})" for name, state in running.items())
        raise ValueError(
            f"cluster {options.cluster!r} has {listed}: wait for its end (segprint logs"
            f" {options.cluster} SPACE), or {force}; what is committed stays, and submitting again"
            " continues"
        )
    return launch(where, None, where.down())
