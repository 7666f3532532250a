"""The page ``docs/fields.md`` as the code gives it."""

from __future__ import annotations

import itertools

from trainables.field_docs import FieldDoc, fields_of

HEAD = """# Fields

Every field of a config with its type, default and meaning, as `segprint ls fields` prints them from
the code. `segprint ls fields diffusion` prints those of one part. *Training* fields decide the
weights, *reading* fields decide how the weights are read, and the others decide neither. The fields
of a part are given as `{"diffusion": {"members": 4}}`, or by their path:
`"mode.diffusion.members": 4`.
"""


def page() -> str:
    """Return the text of the page."""
    blocks = itertools.groupby(fields_of(), lambda row: row.of)
    return "\n".join([HEAD, *(_table(of, list(rows)) for of, rows in blocks)])


def _table(of: str, rows: list[FieldDoc]) -> str:
    lines = ["| field | type | default | decides | meaning |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        default = f"`{row.default}`" if row.default and len(row.default) < 60 else ""
        cells = (f"`{row.field}`", row.type, default, row.decides, row.meaning)
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |")
    return f"## {of}\n\n" + "\n".join(lines) + "\n"
