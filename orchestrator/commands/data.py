"""``segprint data``: list, fetch, check and show data sets."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from orchestrator.commands.options import setting
from orchestrator.commands.output import emit, notice, print_json, say
from orchestrator.diagnostics.dataset_check import Row, walk
from trainables.contracts import check_users_parts
from trainables.datasets import Dataset, Located
from trainables.datasets.folder import Folder
from trainables.decoding.tree import Tree, tree
from trainables.parsing import parse_part
from trainables.part import names, part_class, plain, require, summary, unknown

MIB = 2**20
PATIENCE = 2.0
"""Seconds before progress is printed."""


def main(options: Namespace) -> int:
    """``ls`` reads nothing; ``check`` and ``show`` read every file; ``get`` may use the network."""
    actions: dict[str, Callable[[Namespace], int]] = {
        "ls": _ls,
        "get": _get,
        "check": _check,
        "show": _show,
    }
    return actions[options.action](options)


def _ls(options: Namespace) -> int:
    rows = [_about(by_name(n, {})) for n in options.names or names("datasets")]
    shown = ("name", "there", "channels", "classes", "about")
    emit(rows, {k: k for k in shown}, options.json, every=options.all)
    return 0


def _about(dataset: Dataset) -> Row:
    remote = "://" in dataset.where
    there = dataset.where == "generated" or (not remote and Path(dataset.where).exists())
    return {
        "name": dataset.name,
        "there": "?" if remote else "yes" if there else "no",
        "channels": dataset.channels,
        "classes": ", ".join(dataset.classes),
        "terms": dataset.terms,
        "where": dataset.where,
        "about": summary("datasets", dataset.name) if dataset.file is None else "",
    }


def _get(options: Namespace) -> int:
    if not options.names:
        raise ValueError(f"data get: which one? (choices: {', '.join(names('datasets'))})")
    rows: list[Row] = []
    for name in options.names:
        dataset = by_name(name, _fields(options))
        done = dataset.get(_Loading(dataset.title))
        about = {"name": dataset.title, "where": dataset.where}
        rows.append({**about, "done": done, "terms": dataset.terms})
    emit(rows, None, options.json, every=options.all)
    return 0


def _check(options: Namespace) -> int:
    found = [(d, walk(d)) for d in _chosen(options)]
    splits = [row for _, f in found for row in f.splits]
    problems = [
        {
            "name": dataset.title,
            "state": "error" if p.fatal else "warning",
            "file": p.file,
            "problem": p.rule,
        }
        for dataset, f in found
        for p in f.problems
    ]
    if options.json:
        specs = [{"name": d.title, "task": written(d), "terms": d.terms} for d, _ in found]
        print_json({"sets": specs, "splits": splits, "problems": problems})
    else:
        emit(splits, None, False, every=options.all)
        if problems:
            say()
            emit(problems, None, False, every=options.all)
        for dataset, _ in found:
            if options.names and dataset.name not in options.names:
                say(f'\nin a study: "task": {json.dumps(written(dataset))}')
    return 1 if any(f.broken for _, f in found) else 0


def _show(options: Namespace) -> int:
    chosen = _chosen(options)
    if len(chosen) != 1:
        raise ValueError(f"data show: one data set at a time, not {len(chosen)}")
    from orchestrator.diagnostics.contact_sheet import sheet  # matplotlib takes a second

    output = Path(options.output or f"{chosen[0].title}.png")
    require(
        output.suffix.lower() == ".png" and not output.is_dir(),
        f"-o {output}: a contact sheet is a file whose name ends in .png",
    )
    for problem in sheet(chosen[0], output):
        notice(problem)
    if options.json:
        print_json({"name": chosen[0].title, "file": str(output)})
    else:
        say(output)
    return 0


def _chosen(options: Namespace) -> list[Dataset]:
    """The data sets that were named, or found at a path; without any, those that are there."""
    fields = _fields(options)
    if options.names:
        return [d for name in options.names for d in _found(name, fields)]
    if options.action == "show":
        raise ValueError(f"data show: which one? (choices: {', '.join(names('datasets'))})")
    everything = [by_name(n, fields) for n in names("datasets")]
    return [d for d in everything if _about(d)["there"] != "no"]


def _found(name: str, fields: Mapping[str, Any]) -> list[Dataset]:
    return [by_name(part, {**spec, **fields}) for part, spec in located(name)]


def located(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The data sets that a name, a .py file, a directory or a URL stands for, with their fields.

    Raises:
        ValueError: it is none of these.
    """
    if name in names("datasets") or name.endswith(".py"):
        return [(name, {})]
    place = name if "://" in name else str(Path(name).expanduser().absolute())
    if "://" not in name and not Path(place).is_dir():
        error = unknown("dataset", name, names("datasets"))
        raise ValueError(f"{error}; nor is there such a directory")
    return recognised(tree(place))


def recognised(files: Tree) -> list[tuple[str, dict[str, Any]]]:
    """The readers that recognise the layout of a place, with their fields; else ``folder``."""
    for name in names("datasets"):
        reader = part_class("datasets", name)
        if issubclass(reader, Located):
            specs = reader.recognised(files)
            if specs:
                return [(name, {"at": files.url, **spec}) for spec in specs]
    return [("folder", {"at": files.url, **Folder.sensed(files)})]


def _fields(options: Namespace) -> dict[str, Any]:
    return dict(setting(text) for text in options.set)


def by_name(name: str, fields: Mapping[str, Any]) -> Dataset:
    """The data set of a name with some fields."""
    dataset = cast("Dataset", parse_part("datasets", {name: fields}))
    check_users_parts(dataset)
    return dataset


def written(dataset: Dataset) -> dict[str, Any]:
    """The data set as a study file names it: with the fields that differ from their defaults."""
    kept = {
        name: plain(value)
        for name, value in vars(dataset).items()
        if value != getattr(type(dataset), name, None)
    }
    return {str(dataset.file or dataset.name): kept}


class _Loading:
    """Prints the bytes loaded so far on stderr, at most every :data:`PATIENCE` seconds."""

    def __init__(self, title: str) -> None:
        self.title, self.last = title, time.monotonic()

    def __call__(self, done: int, of: int | None) -> None:
        if time.monotonic() - self.last > PATIENCE:
            self.last = time.monotonic()
            whole = f" of {of / MIB:.0f}" if of else ""
            notice(f"{self.title}: {done / MIB:.0f}{whole} MiB")
