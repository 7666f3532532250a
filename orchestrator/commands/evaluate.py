"""``segprint evaluate``: test the kept networks of a study on another data set."""

from __future__ import annotations

import dataclasses
import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, cast

from orchestrator.commands.data import located
from orchestrator.commands.options import ledger_of
from orchestrator.commands.readings import run_or_write
from orchestrator.diagnostics.external_test import check_images
from orchestrator.planning.derived_study import SourceTrial, derive, source_trials
from trainables.config import Config
from trainables.datasets import Dataset
from trainables.parsing import parse_part
from trainables.part import part_class

Spec = tuple[str, Mapping[str, Any]]
"""The name or the file of a data set, and the fields that are given."""

AS_TRAINED = ("size", "longest", "axis", "window_low", "window_high")
"""Fields that decide how a network sees an image."""
CLASSES = ("background", "foreground")


def main(options: Namespace) -> int:
    """Test the networks; the results are those of a study of its own."""
    spec = _spec(options.dataset)
    own_file = [spec[0]] if spec[0].endswith(".py") else []
    sources = source_trials(ledger_of(options), options.what, [*options.trust, *own_file])

    def external(source: SourceTrial) -> Config:
        on = as_trained(spec, source.config.task)
        test = dataclasses.replace(source.config.test, on=on, cases=options.cases)
        return dataclasses.replace(source.config, test=test)

    for source in sources:
        check_images(external(source))
    title = external(sources[0]).tested.title
    suffix = "_test" if options.cases == "test" else ""
    name = options.study or f"{options.what.replace('/', '_')}_on_{title}{suffix}"
    place = json.dumps({spec[0]: spec[1]}, sort_keys=True)
    which = "test cases" if suffix else "cases"
    question = f"How do the networks of {options.what} segment the {which} of {place}?"
    derived = derive(name, question, sources, external, train=options.train)
    return run_or_write(derived, options)


def _spec(text: str) -> Spec:
    """Return the data set that a text names: a name, a file, a folder, a URL or JSON.

    Raises:
        ValueError: it names none, or several.
    """
    if text.lstrip().startswith("{"):
        return _parsed(text)
    found = located(text)
    if len(found) > 1:
        choices = ", ".join(json.dumps({name: fields}) for name, fields in found)
        raise ValueError(f"--on {text}: there are several data sets, name one (choices: {choices})")
    return found[0]


def _parsed(text: str) -> Spec:
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--on {text}: no valid JSON: {error}") from None
    content = cast("dict[str, Any]", value)
    fields = next(iter(content.values()), None)
    if len(content) != 1 or not isinstance(fields, dict):
        raise ValueError(f"--on {text}: must be one data set with its fields, {{NAME: {{...}}}}")
    return next(iter(content)), cast("dict[str, Any]", fields)


def as_trained(spec: Spec, task: Dataset) -> Dataset:
    """Return the data set as the network of a task reads it.

    Fields that are not given are those of the task: the size of tiles, the longest side, the axis
    and the window of volumes, and where the data set leaves them to the user, the classes with
    their numbers and grey or colour.
    """
    name, given = spec
    fields = {f.name for f in dataclasses.fields(cast("Any", part_class("datasets", name)))}
    usual: dict[str, Any] = {k: getattr(task, k) for k in AS_TRAINED if hasattr(task, k)}
    values = {str(number): label for number, label in getattr(task, "values", ())}
    if values and "values" in fields and not given.keys() & {"values", *CLASSES}:
        usual["values"] = values
    elif not given.get("values"):
        usual |= {"background": task.classes[0], "foreground": list(task.classes[1:])}
    if not given.get("modalities"):
        usual |= {"colour": task.channels != 1}
    known = {key: value for key, value in usual.items() if key in fields}
    return cast("Dataset", parse_part("datasets", {name: {**known, **given}}))
