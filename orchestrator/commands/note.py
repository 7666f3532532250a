"""``segprint note``: what people know about a study."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.commands import emit, ledger_of
from orchestrator.ledger.studies import Note
from trainables.part import unknown


def main(options: Namespace) -> int:
    """Change what was asked for, and print what is noted now."""
    studies = ledger_of(options).studies
    known = studies.names(retired=True)
    if options.study not in known:
        raise unknown("study", options.study, known)
    if options.delete:
        print(f"{studies.forget(options.study)} declarations of {options.study} deleted")
        return 0
    noted = studies.note(options.study)
    changes: Note = {}
    if options.text is not None:
        changes["note"] = options.text
    if options.tag or options.untag:
        kept = {*noted.get("tags", []), *options.tag} - set(options.untag)
        changes["tags"] = sorted(kept)
    if options.retire or options.restore:
        changes["retired"] = options.retire
    if changes:
        studies.annotate(options.study, **changes)
        noted = studies.note(options.study)
    row = {
        "study": options.study,
        "note": noted.get("note", ""),
        "tags": ", ".join(noted.get("tags", [])),
        "retired": noted.get("retired", False),
    }
    emit([row], None, options.json)
    return 0
