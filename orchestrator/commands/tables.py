"""``segprint tables``: compact, check, rebuild and clean what is stored."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from datetime import timedelta

from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import console, emit, notice, print_json, say
from orchestrator.formatting import plural, printable
from orchestrator.ledger.commits import DamagedError
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction, delta_log, vacuum
from orchestrator.tables.committer_lease import BusyError
from orchestrator.tables.compaction_log import TABLES, batches
from orchestrator.tables.integrity import Check
from trainables.part import require


def main(options: Namespace) -> int:
    """Do one action; return 1 if an object is damaged or another process compacts the tables."""
    actions = {
        "compact": compact,
        "check": check,
        "rebuild": rebuild,
        "gc": gc,
        "versions": versions,
    }
    store = ledger_of(options).store
    try:
        return actions[options.action](store, options)
    except BusyError as error:
        notice(error)
        return 1


def compact(store: Store, options: Namespace) -> int:
    """Append committed attempts to the tables, then merge small files."""
    attempts = compaction.compact_committed(store, notice)
    merged = compaction.merge_small_files(store)
    rows = [
        {
            "table": name,
            "rows": state.rows,
            "files": len(state.files),
            "merged": _change(name, merged),
        }
        for name in TABLES
        for state in [delta_log.load(store, name)]
        if state is not None
    ]
    if options.json:
        emit(rows, None, as_json=True)
        return 0
    emit(rows, None, as_json=False)
    say(f"{plural(attempts, 'attempt')} compacted")
    return 0


def check(store: Store, options: Namespace) -> int:
    """Check every object; print one line per finding, and the number of objects checked."""
    walk = Check(store, quick=options.quick)
    rows = [vars(finding) for finding in walk.run()]
    restored = walk.restore() if options.restore else {}
    moved = walk.quarantine() if options.quarantine else []
    if options.json or rows:
        emit(rows, None, options.json, every=options.all)
    damaged = sum(row["kind"] == "damage" for row in rows)
    remarks = console(stderr=True)
    checked = ", ".join(f"{count} {what}" for what, count in walk.counts.items())
    remarks.print(f"checked {checked or 'an empty store'}; {damaged} damaged")
    for key, record in restored.items():
        failed = isinstance(record, DamagedError)
        remarks.print(printable(f"not restored: {record}" if failed else f"restored: {key}"))
    for key in moved:
        remarks.print(f"set aside: {key}")
    return 1 if damaged else 0


def rebuild(store: Store, options: Namespace) -> int:
    """Rebuild the compacted tables, unless that would lose rows that only they still have."""
    walk = Check(store)
    lost = [
        finding
        for finding in walk.run()
        if finding.kind == "damage"
        and finding.where in walk.broken
        and finding.where in walk.compacted
    ]
    if walk.broken and isinstance(walk.versions["trials"], DamagedError) and not options.force:
        raise ValueError(
            f"{walk.versions['trials']}: {len(walk.broken)} damaged commits may have their rows in"
            " the compacted tables only; --force rebuilds the tables without them"
        )
    if lost and not options.force:
        emit([vars(finding) for finding in lost], None, options.json, every=options.all)
        raise ValueError(
            f"{len(lost)} damaged commits have their rows in the compacted tables only;"
            " --force rebuilds the tables without them"
        )
    attempts = compaction.rebuild(store, notice)
    if options.json:
        print_json({"attempts": attempts})
    else:
        say(f"{plural(attempts, 'attempt')} compacted again")
    return 0


def gc(store: Store, options: Namespace) -> int:
    """Delete objects that nothing needs, or only print them with ``--dry-run``.

    Raises:
        ValueError: ``--keep-days`` is negative or no number.
    """
    require(
        options.keep_days >= 0, f"--keep-days {options.keep_days:g} must be a number of at least 0"
    )
    keep = timedelta(days=min(options.keep_days, 36500.0))
    counted, size = Counter[str](), Counter[str]()
    found = vacuum.collect(ledger_of(options), keep, dry_run=options.dry_run)
    for item in found:
        counted[item.why] += 1
        size[item.why] += item.size
    if options.json:
        emit([vars(item) for item in found], None, as_json=True)
        return 0
    rows = [{"objects": n, "bytes": size[why], "why": why} for why, n in counted.items()]
    emit(rows, None, as_json=False)
    verb = "would be deleted" if options.dry_run else "deleted"
    say(f"{plural(len(found), 'object')} {verb}")
    if keep < vacuum.GRACE:
        say("replaced files and weights stay for at least a day: somebody may be about to use them")
    return 0


def versions(store: Store, options: Namespace) -> int:
    """Print the batches; each is a version that can be read."""
    rows = [{"version": b.number, "at": b.at, "attempts": len(b.members)} for b in batches(store)]
    emit(rows, None, options.json, every=options.all)
    return 0


def _change(name: str, merged: dict[str, tuple[int, int]]) -> str:
    before, after = merged.get(name, (0, 0))
    return f"{before} → {after}" if name in merged else ""
