"""``segprint ls``: the choices of a kind, or the stored studies."""

from __future__ import annotations

import ast
from argparse import Namespace
from pathlib import Path
from typing import Any, cast

import cluster
import search_spaces
from orchestrator import analyses
from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import emit
from orchestrator.ledger.ledger import Ledger
from trainables import part
from trainables.schemas import SCHEMAS

KINDS = (*part.KINDS, "spaces", "clusters", "analyses", "views", "studies")


def main(options: Namespace) -> int:
    """Print the kinds, or the choices of one."""
    kinds = [{"name": k} for k in KINDS]
    rows = kinds if options.kind is None else choices(options.kind, options)
    emit(rows, None, options.json, every=options.all)
    return 0


def choices(kind: str, options: Namespace) -> list[dict[str, Any]]:
    """Return the choices of a kind, each with the first line of its docstring."""
    if kind in part.KINDS:
        published = _published() if kind == "models" else {}
        return [
            {"name": n, **published.get(n, {}), "about": part.summary(kind, n)}
            for n in part.names(kind)
        ]
    if kind == "spaces":
        return [{"name": n, "about": search_spaces.summary(n)} for n in search_spaces.names()]
    if kind == "clusters":
        return [{"name": n, "about": _doc(cluster.source_file(n))} for n in cluster.names()]
    if kind == "analyses":
        return [{"name": n, "about": _doc(analyses.HERE / f"{n}.py")} for n in analyses.names()]
    if kind == "views":
        columns = {name: ", ".join(schema.names) for name, schema in SCHEMAS.items()}
        columns |= dict.fromkeys(["studies", *analyses.names()], "")
        return [{"name": n, "columns": c} for n, c in columns.items()]
    if kind == "studies":
        return _studies(ledger_of(options))
    raise part.unknown("kind", kind, KINDS)


def _studies(ledger: Ledger) -> list[dict[str, Any]]:
    """Return every study with its number of committed trials, its tags and its note."""
    commits = ledger.commits()
    rows: list[dict[str, Any]] = []
    for name in ledger.studies.names(retired=True):
        digests = {d.digest for d in ledger.studies.current(name)}
        note = ledger.studies.note(name)
        row = {"name": name, "trials": len(digests), "committed": len(digests & commits.keys())}
        row["tags"] = ", ".join([*note.get("tags", []), *["retired"] * note.get("retired", False)])
        rows.append({**row, "note": note.get("note", "")})
    return rows


def _published() -> dict[str, dict[str, Any]]:
    """Return the number of parameters of each published network; this imports torch."""
    from trainables.models import Model, published_parameters

    presets = {n: cast("Model", part.parse_part("models", n)) for n in part.names("models")}
    return {n: {"parameters_published": published_parameters(m)} for n, m in presets.items()}


def _doc(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]
