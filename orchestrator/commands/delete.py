"""``segprint delete``: delete trials or studies with what only they need."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import emit, notice, print_json, say
from orchestrator.formatting import plural, size
from orchestrator.planning.trial_state import LEASE_SECONDS
from orchestrator.tables.committer_lease import BusyError
from orchestrator.tables.deletion import Deletion, delete, planned
from orchestrator.tables.published_store import PublishedStore
from trainables.part import require


def main(options: Namespace) -> int:
    """Delete, or print what would be deleted; return 1 if another process writes to the tables."""
    ledger = ledger_of(options)
    require(
        not isinstance(ledger.store, PublishedStore),
        f"{options.store} is a published study, of which nothing is deleted",
    )
    if not options.yes:
        _print(planned(ledger, options.names), options)
        return 0
    try:
        deletion = delete(ledger, options.names, LEASE_SECONDS, notice)
    except BusyError as error:
        notice(str(error))
        return 1
    _print(deletion, options)
    return 0


def _print(deletion: Deletion, options: Namespace) -> None:
    rows: list[dict[str, Any]] = [
        {"what": what, "objects": len(found), "bytes": sum(entry.size for entry in found)}
        for what, found in deletion.objects.items()
    ]
    if options.json:
        print_json(
            {
                "deleted": options.yes,
                "studies": sorted(deletion.studies),
                "trials": sorted(deletion.digests),
                "objects": rows,
                "compacted_attempts": deletion.compacted,
                "shared_trials": {d: sorted(s) for d, s in deletion.shared_trials.items()},
                "shared_weights": sorted(deletion.shared_weights),
            }
        )
        return
    emit(rows, None, as_json=False)
    for line in _remarks(deletion, yes=options.yes):
        say(line)


def _remarks(deletion: Deletion, *, yes: bool) -> Iterator[str]:
    """Yield what goes, what stays, and what to do next, one sentence each."""
    names = [f"study {name}" for name in sorted(deletion.studies)]
    total = sum(entry.size for found in deletion.objects.values() for entry in found)
    goes = ", ".join([*names, plural(len(deletion.digests), "trial"), size(total)])
    yield f"deleted: {goes}" if yes else f"would be deleted: {goes}"
    declaring = sorted({slot.study for slot in deletion.slots} - deletion.studies)
    if declaring:
        listed = " or ".join(declaring)
        one = len(deletion.digests) == 1
        again = "it again" if one else "again those of these trials that it declares"
        yield f"the next sweep of {listed} trains {again}"
    if deletion.compacted:
        verb = "are removed from" if yes else "would be removed from"
        yield (
            f"the rows of {plural(deletion.compacted, 'attempt')} {verb} the compacted tables;"
            " `segprint tables gc` deletes the replaced files after a week"
        )
    if deletion.shared_trials:
        others = sorted(set[str]().union(*deletion.shared_trials.values()))
        count = plural(len(deletion.shared_trials), "trial")
        yield f"{count} that {', '.join(others)} declared too: kept"
    if deletion.shared_weights:
        count = len(deletion.shared_weights)
        yield f"weights of {plural(count, 'training')} that other trials read too: kept"
    if not yes:
        yield "nothing was deleted; --yes deletes"
