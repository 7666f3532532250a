"""``segprint note``: people's notes on a study."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.commands.options import ledger_of, require_study
from orchestrator.commands.output import emit, print_json, say
from orchestrator.formatting import plural
from orchestrator.ledger.declared import Note


def main(options: Namespace) -> int:
    """Change the note, the tags or the state of a study, and print them."""
    ledger = ledger_of(options)
    require_study(ledger, options.study)
    studies = ledger.studies
    if options.delete:
        deleted = studies.forget(options.study)
        if options.json:
            print_json({"study": options.study, "declarations_deleted": deleted})
        else:
            say(f"{plural(deleted, 'declaration')} of {options.study} deleted")
        return 0
    note = studies.note(options.study)
    changes: Note = {}
    if options.text is not None:
        changes["note"] = options.text
    if options.tag or options.untag:
        kept = {*note.get("tags", []), *options.tag} - set(options.untag)
        changes["tags"] = sorted(kept)
    if options.retire or options.restore:
        changes["retired"] = options.retire
    if changes:
        studies.annotate(options.study, **changes)
        note = studies.note(options.study)
    row = {
        "study": options.study,
        "note": note.get("note", ""),
        "tags": ", ".join(note.get("tags", [])),
        "retired": note.get("retired", False),
    }
    emit([row], None, options.json)
    return 0
