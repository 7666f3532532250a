"""``segprint init``: look at a data directory, and write a first study of it."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from pprint import pformat
from textwrap import indent
from typing import Any

import search_spaces
from orchestrator.commands.data import by_name, recognised, written
from orchestrator.commands.options import setting
from orchestrator.commands.output import emit, say
from orchestrator.diagnostics.dataset_check import Found, walk
from orchestrator.diagnostics.first_look import UnclearError, mask_fields
from orchestrator.formatting import plural, printable
from orchestrator.planning.same_name import check_no_cluster
from orchestrator.planning.validation import check
from orchestrator.storage.local_files import place
from search_spaces._types import check_identifier
from trainables.datasets import Dataset
from trainables.decoding.tree import tree
from trainables.part import require

Spec = tuple[str, dict[str, Any]]
"""The name of a reader, and its fields."""

TEMPLATE = '''\
"""Diffusion and its feed-forward twin on one data set, as `segprint init` wrote it.

`segprint plan ./{file}` prints what it costs, and `segprint sweep ./{file}` runs it.
"""

from search_spaces import Space

SPACE = Space(
    question="Does diffusion segment these images better than its feed-forward twin?",
    config={{
        # The data as they were found; `segprint ls fields {part}` explains the fields.
{data}
        "task": {task},
        # A small U-Net, so that a first sweep takes minutes; `segprint ls models` lists the others.
        "model": {{
            "ensemdiff": {{"channels": 16, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}}
        }},
        # Enough to see that everything works. For a result, raise the steps to tens of thousands.
        # tf32 makes a GPU faster; on a CPU it is float32.
        "train": {{
            "steps": 300,
            "batch": 8,
            "learning_rate": 2e-3,
            "validate_every": 50,
            "precision": "tf32",
        }},
    }},
    # Named changes to the config. All arms share the data, its splits and the seeds.
    arms={{
        "twin": {{"mode": "feedforward"}},  # the same network, in one pass
        "diffusion": {{
            "mode": {{"diffusion": {{"sampler": {{"ddim": {{"steps": 4}}}}, "members": 3}}}}
        }},
        # "cosine": {{"mode.diffusion.schedule": "cosine"}},  # an example of one more arm
    }},
    # The arm that the others are compared with.
    baseline="twin",
    # Seeds per arm; intervals and tests need several.
    replicates=3,
)
'''


def main(options: Namespace) -> int:
    """Write the space, after every file was read; a file of that name stays as it is."""
    path = Path(options.file)
    require(path.suffix == ".py", f"init {path}: the name of a study file must end in .py")
    check_identifier(f"init {path}: the file's name", path.stem)
    check_no_cluster(path.stem)
    require(not path.exists(), f"init {path}: this file exists; choose another name")
    require(path.parent.is_dir(), f"init {path}: there is no directory {path.parent}")
    dataset, found = _looked_at(options)
    place(path, space(dataset, found, path.name).encode(), replace=False)
    try:
        check(search_spaces.load(str(path))[1])
    except ValueError:
        path.unlink()
        raise
    emit(found.splits, None, False)
    for problem in found.problems:
        say(f"warning: {problem}")
    say(f"\nwritten: {path}; what it costs: segprint plan {path}")
    return 0


def _looked_at(options: Namespace) -> tuple[Dataset, Found]:
    """Return the data set in the directory, and what reading all of its files found.

    Raises:
        ValueError: there is none, there are several, or its files cannot be trained on.
    """
    place = options.data if "://" in options.data else str(Path(options.data).absolute())
    if "://" not in place:
        require(Path(place).is_dir(), f"init: --data {options.data} is no directory")
    given = dict(setting(text) for text in options.set)
    part, spec = _the_one(place, recognised(tree(place)), given)
    dataset = by_name(part, {**spec, **given})
    if not given.keys() & {"objects", "foreground", "values"}:
        try:
            dataset = by_name(part, {**spec, **mask_fields(dataset), **given})
        except UnclearError as error:
            raise ValueError(f"init: {place}: {error}") from None
    found = walk(dataset)
    if found.broken:
        first, *others = [p for p in found.problems if p.fatal]
        more = f"; {plural(len(others), 'more problem')}" if others else ""
        ((_, fields),) = written(dataset).items()
        words = ["segprint", "data", "check", place, *_settings(fields)]
        raise ValueError(f"init: {first}{more}; all of them: {shlex.join(words)}")
    return dataset, found


def _the_one(place: str, specs: Sequence[Spec], given: Mapping[str, Any]) -> Spec:
    """Return the data set of a place that has the fields of ``--set``.

    Raises:
        ValueError: there is none, or there are several.
    """
    if len(specs) == 1:
        return specs[0]
    wanted = [(n, s) for n, s in specs if all(s.get(k, v) == v for k, v in given.items())]
    if len(wanted) == 1:
        return wanted[0]
    choices = ", ".join(" ".join(_settings(spec)) for _, spec in wanted or specs)
    raise ValueError(f"init: {place} holds several data sets, choose one (choices: {choices})")


def _settings(fields: Mapping[str, Any]) -> list[str]:
    """Return the options that set fields of a data set, but for its place."""
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()}
    return [word for k, v in values.items() if k != "at" for word in ("--set", f"{k}={v}")]


def space(dataset: Dataset, found: Found, file: str) -> str:
    """Return the text of a study of a data set."""
    task: dict[str, Any] = written(dataset)
    lines = [
        f"{row['split']}: {plural(row['images'], 'image')} of {plural(row['groups'], 'group')},"
        f" {row['size']} pixels, {row['dtype']}; {row['prevalence']}"
        for row in found.splits
    ]
    named = [name for name in dataset.classes if name.startswith("class_")]
    if named:
        lines.append(f"Rename the classes that the masks number: {', '.join(named)}.")
    return TEMPLATE.format(
        file=file,
        part=dataset.name,
        data=indent("\n".join(map(printable, lines)), "        # "),
        task=indent(pformat(task, width=80, sort_dicts=False), " " * 8).strip(),
    )
