"""``segprint show``: all that a space says and implies, or a committed trial."""

from __future__ import annotations

import dataclasses
import json
import re
from argparse import Namespace
from typing import Any

import search_spaces
from orchestrator.commands import emit, ledger_of
from orchestrator.planning.cells import check, left_out, templates
from orchestrator.tables.snapshot import Snapshot
from search_spaces import Choice, Each, Integer, Parameter, Space, Uniform, walk


def main(options: Namespace) -> int:
    """Print a trial if the argument looks like a digest, else a space."""
    if re.fullmatch(r"[0-9a-f]{16}", options.what):
        return _trial(options)
    name, space = search_spaces.load(options.what)
    said = about(name, search_spaces.docstring(options.what), space)
    if options.json:
        print(json.dumps(said, indent=1, default=str))
        return 0
    print(f"{name}: {space.question}\n\n{said['docstring']}\n")
    emit(said["holes"], {"path": "hole", "kind": "", "domain": "domain"}, False)
    print()
    arms = [{"arm": arm, "lays": text} for arm, text in said["arms"].items()]
    emit(arms, {"arm": "arm", "lays": "lays over it"}, False)
    for heading in ("constraints", "objectives", "early_stopping", "starts_from", "budget"):
        if said[heading]:
            print(f"\n{heading.replace('_', ' ')}: {said[heading]}")
    print()
    columns = {"cell": "cell", "trials": "search trials", "finals": "final trials"}
    emit(said["cells"], columns, False)
    print(f"\n{said['counts']}")
    return 0


def about(name: str, docstring: str, space: Space) -> dict[str, Any]:
    """A space in words and numbers."""
    cells, out, search = check(space), left_out(space), space.search
    rows: list[dict[str, Any]] = [
        {
            "cell": cell.name,
            "arm": cell.arm,
            "trials": search.trials if cell.searched and search is not None else 0,
            "finals": space.replicates,
            "searches": ", ".join(path for path, _ in walk(cell.template)) or "nothing",
        }
        for cell in cells
    ]
    finals, trials = (sum(row[k] for row in rows) for k in ("finals", "trials"))
    counts = f"{len(cells)} cells, {trials} search and {finals} final trials (most: {space.most:,})"
    if out:
        counts += f"; {out} more cells break a constraint and are left out"
    judged = search if trials else None
    return {
        "study": name,
        "question": space.question,
        "docstring": docstring,
        "holes": list(_holes(space)),
        "arms": {arm: _laid(overrides) for arm, overrides in space.arms.items()},
        "constraints": " and ".join(space.constraints),
        "objectives": _objectives(space) if judged else "",
        "early_stopping": f"{judged.pruner} at steps {list(judged.rungs)}"
        if judged and judged.rungs
        else "",
        "starts_from": ", ".join(judged.warm_start) if judged else "",
        "budget": _budget(space),
        "cells": rows,
        "left_out": out,
        "trials": trials + finals,
        "counts": counts,
    }


def _holes(space: Space) -> list[dict[str, str]]:
    """Every hole once, whichever arms it is in."""
    found: dict[str, dict[str, str]] = {}
    for _, template in templates(space):
        for path, hole in walk(template):
            kind = "grid" if isinstance(hole, Each) else "searched"
            found.setdefault(path, {"path": path, "kind": kind, "domain": _domain(hole)})
    return list(found.values())


def _domain(parameter: Parameter) -> str:
    if isinstance(parameter, Each):
        return " | ".join(_laid(value) for value in parameter.values)
    if isinstance(parameter, Choice):
        return " | ".join(parameter.values)
    if isinstance(parameter, Integer):
        return f"{parameter.low}..{parameter.high}"
    assert isinstance(parameter, Uniform)
    return f"{parameter.low:g} to {parameter.high:g}{', logarithmic' if parameter.log else ''}"


def _laid(value: Any) -> str:
    """A value as short as it can be read; holes are told apart from values by a question mark."""
    if isinstance(value, Parameter):
        return "?"
    if isinstance(value, dict):
        items: dict[str, Any] = value
        inner = [k if v == {} else f"{k}: {_laid(v)}" for k, v in items.items()]
        return "{" + ", ".join(inner) + "}" if len(inner) > 1 else "".join(inner) or "nothing"
    return str(value)


def _objectives(space: Space) -> str:
    assert space.search is not None
    words = [
        f"{text.removeprefix('-')} {'down' if text[:1] == '-' else 'up'}"
        for text in space.search.objectives
    ]
    limits = [f"{name} {bound:g}" for name, bound in space.search.limits.items()]
    return ", ".join(words) + (f"; limits: {', '.join(limits)}" if limits else "")


def _budget(space: Space) -> str:
    if space.budget is None:
        return ""
    plain = dataclasses.asdict(space.budget)
    return ", ".join(f"{value} {k}".replace("_", " ") for k, value in plain.items() if value)


def _trial(options: Namespace) -> int:
    rows = Snapshot(ledger_of(options).store).table("trials", [options.what]).to_pylist()
    if not rows:
        raise ValueError(f"no committed trial has the digest {options.what!r}")
    for row in rows:
        row["config"] = json.loads(row["config"])
    print(json.dumps(rows[0], indent=1, default=str))
    return 0
