"""``segprint show``: the contents of a space and the trials it describes, or a committed trial."""

from __future__ import annotations

import dataclasses
import json
import re
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, cast

import search_spaces
from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import emit, notice, print_json, say
from orchestrator.formatting import plural
from orchestrator.planning.cells import left_out, templates
from orchestrator.planning.validation import check
from orchestrator.tables.snapshot import Snapshot
from search_spaces import Choice, Each, Integer, Parameter, Space, Uniform, walk
from trainables.part import require, unknown


def main(options: Namespace) -> int:
    """Print a trial if the argument is a digest, else a space."""
    if re.fullmatch(r"[0-9a-f]{16}", options.what):
        require(
            options.config is None,
            f"--config {options.config} names a cell of a space, and {options.what} is a trial",
        )
        return _trial(options)
    name, space = search_spaces.load(options.what)
    if options.config is not None:
        print_json(_config(space, options.config))
        return 0
    description = describe(name, search_spaces.docstring(options.what), space)
    if options.json:
        print_json(description)
        return 0
    say(f"{name}: {space.question}\n\n{description['docstring']}\n")
    emit(
        description["parameters"],
        {"path": "parameter", "kind": "", "domain": "domain"},
        False,
        every=options.all,
    )
    say()
    arms = [{"arm": arm, "overrides": text} for arm, text in description["arms"].items()]
    emit(arms, {"arm": "arm", "overrides": "overrides"}, False, every=options.all)
    for heading in ("constraints", "objectives", "early_stopping", "starts_from", "budget"):
        if description[heading]:
            say(f"\n{heading.replace('_', ' ')}: {description[heading]}")
    say()
    columns = {"cell": "cell", "trials": "search trials", "finals": "final trials"}
    emit(description["cells"], columns, False, every=options.all)
    say(f"\n{description['counts']}")
    return 0


def _config(space: Space, name: str) -> dict[str, Any]:
    """Return the complete config of a cell; searched parameters have one valid value each."""
    cells = {cell.name: cell for cell in check(space)}
    if name not in cells:
        raise unknown("cell", name, cells)
    cell = cells[name]
    if cell.searched:
        paths = ", ".join(path for path, _ in walk(cell.template))
        notice(f"{paths}: searched, shown with one valid value")
    return cell.config(cell.example, {}, seed=0).plain()


def describe(name: str, docstring: str, space: Space) -> dict[str, Any]:
    """Return everything that a space determines, as texts and numbers."""
    cells, excluded, search = check(space), left_out(space), space.search
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
    counts = plural(len(cells), "cell")
    counts += f", {trials} search and {finals} final trials (most: {space.most:,})"
    if excluded:
        counts += f"; left out because of a constraint: {plural(excluded, 'more cell')}"
    active = search if trials else None
    return {
        "study": name,
        "question": space.question,
        "docstring": docstring,
        "parameters": _parameters(space),
        "arms": {arm: _short(overrides) for arm, overrides in space.arms.items()},
        "constraints": " and ".join(space.constraints),
        "objectives": _objectives(space) if active else "",
        "early_stopping": f"{active.pruner} at steps {list(active.rungs)}"
        if active and active.rungs
        else "",
        "starts_from": ", ".join(active.warm_start) if active else "",
        "budget": _budget(space),
        "cells": rows,
        "left_out": excluded,
        "trials": trials + finals,
        "counts": counts,
    }


def _parameters(space: Space) -> list[dict[str, str]]:
    """Return every parameter once, with its kind and domain."""
    rows: dict[str, dict[str, str]] = {}
    for _, template in templates(space):
        for path, parameter in walk(template):
            kind = "grid" if isinstance(parameter, Each) else "searched"
            row = {"path": path, "kind": kind, "domain": _domain(parameter)}
            rows.setdefault(path, row)
    return list(rows.values())


def _domain(parameter: Parameter) -> str:
    if isinstance(parameter, Each):
        return " | ".join(_short(value) for value in parameter.values)
    if isinstance(parameter, Choice):
        named = isinstance(parameter.values, Mapping)
        return " | ".join(str(o) if named else repr(o) for o in parameter.options)
    assert isinstance(parameter, Uniform | Integer)
    step = "" if parameter.step is None else f", step {_exact(parameter.step)}"
    if isinstance(parameter, Integer):
        return f"{parameter.low}..{parameter.high}{step}"
    scale = ", logarithmic" if parameter.log else step
    return f"{_exact(parameter.low)} to {_exact(parameter.high)}{scale}"


def _exact(number: float) -> str:
    """Return a number with all of its digits, and no more.

    >>> _exact(1.0), _exact(1e-05), _exact(0.1234567)
    ('1', '1e-05', '0.1234567')
    """
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def _short(value: Any) -> str:
    """Return a value as a short text, with a question mark for a parameter."""
    if isinstance(value, Parameter):
        return "?"
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        inner = [k if v == {} else f"{k}: {_short(v)}" for k, v in items.items()]
        return "{" + ", ".join(inner) + "}" if len(inner) > 1 else "".join(inner) or "nothing"
    return str(value)


def _objectives(space: Space) -> str:
    assert space.search is not None
    texts = [
        f"{text.removeprefix('-')} {'down' if text[:1] == '-' else 'up'}"
        for text in space.search.objectives
    ]
    limits = [f"{name} {_exact(bound)}" for name, bound in space.search.limits.items()]
    return ", ".join(texts) + (f"; limits: {', '.join(limits)}" if limits else "")


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
    print_json(rows[0])
    return 0
