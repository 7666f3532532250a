"""``segprint down``: stop a described cluster and everything that costs money; results stay."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.remote.launcher import described, launch, shown, studies


def main(options: Namespace) -> int:
    """Run the cluster's stop commands, or print them with ``--dry-run``.

    Raises:
        ValueError: a study runs there, or that cannot be found out; ``--force`` stops it anyway.
    """
    where = described(options.cluster, "down")
    status = [] if options.force else where.status()
    if options.dry_run:
        print(shown(where, None, [*status, *where.down()]))
        return 0
    force = f"segprint down {options.cluster} --force"
    try:
        running = {} if options.force else studies(where)
    except ValueError as error:
        if "is not installed here" in str(error):
            raise
        raise ValueError(
            f"it is not known whether a study runs there: {error}; `{force}` stops it anyway"
        ) from error
    if running:
        listed = ", ".join(f"{name} ({state})" for name, state in running.items())
        raise ValueError(
            f"cluster {options.cluster!r} has {listed}: wait for the end (segprint logs"
            f" {options.cluster} SPACE), or stop it with `{force}`; committed results stay, and"
            " submitting again continues"
        )
    return launch(where, None, where.down())
