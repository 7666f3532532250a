"""The objects that the options of the command line name."""

from __future__ import annotations

import dataclasses
import json
import shlex
from argparse import Namespace
from typing import Any

import search_spaces
from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.same_name import check_no_cluster
from orchestrator.storage.location import default_store
from orchestrator.tables.published_store import is_published, open_ledger, published_name
from orchestrator.views.catalog import Catalog
from search_spaces import Space
from search_spaces._types import check_identifier
from trainables.part import unknown


def ledger_of(options: Namespace) -> Ledger:
    """Return the ledger that ``--store`` names: a store, or a published study."""
    return open_ledger(options.store)


def catalog_of(options: Namespace) -> Catalog:
    """Return the views of the named studies, or of all studies.

    Raises:
        ValueError: a study is not in the store.
    """
    ledger = ledger_of_studies(options)
    version, metrics = getattr(options, "version", None), getattr(options, "metric", ())
    return catalog(ledger, tuple(options.studies), version, tuple(metrics))


def ledger_of_studies(options: Namespace) -> Ledger:
    """Return the ledger of the named studies.

    The directory of one published study stands for its store and its name.

    Raises:
        ValueError: a study is not in the store.
    """
    if any(is_published(study) for study in options.studies):
        if len(options.studies) > 1:
            raise ValueError("a published study is read alone; name one directory")
        options.store, options.studies = options.studies[0], [published_name(options.studies[0])]
    ledger = ledger_of(options)
    for study in options.studies:
        require_study(ledger, study)
    return ledger


def require_study(ledger: Ledger, study: str) -> None:
    """Check that a study is in the store.

    Raises:
        ValueError: it is not.
    """
    known = ledger.studies.names(retired=True)
    if study not in known:
        raise unknown("study", study, known)


def study_of(options: Namespace, name_or_path: str) -> tuple[str, Space]:
    """Return a study's name and space with the changes of the options ``--as`` and ``--most``.

    Raises:
        ValueError: there is no such space, or a bad one, or its name is that of a cluster.
    """
    study, space = search_spaces.load(name_or_path)
    if options.study is not None:
        check_identifier("--as", options.study)
        space = dataclasses.replace(space, name=options.study)
    most: int | None = getattr(options, "most", None)
    if most is not None:
        space = dataclasses.replace(space, most=most)
    study = space.name or study
    check_no_cluster(study)
    return study, space


def setting(text: str) -> tuple[str, Any]:
    """Split ``PATH=VALUE`` into a path and a value, which is JSON or else a text.

    Raises:
        ValueError: the text has another form.
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ValueError(f"--set {text!r} must be PATH=VALUE, e.g. train.steps=20")
    try:
        return path, json.loads(value)
    except json.JSONDecodeError:
        return path, value


def program(options: Namespace) -> list[str]:
    """Return the first words of a command that is to be shown: it reads the same store."""
    usual = options.store == default_store()
    return ["segprint", *([] if usual else ["--store", options.store])]


def repeated(verb: str, what: str, options: Namespace) -> str:
    """Return the command with the options that choose its study and cluster, to be shown again."""
    given = {
        "--as": getattr(options, "study", None),
        "--on": getattr(options, "on", None) or getattr(options, "dataset", None),
        "--cases": getattr(options, "cases", None),
        "--most": getattr(options, "most", None),
    }
    usual = {"--on": "local", "--cases": "all"}
    words = [*program(options), verb, what]
    for name in ("set", "trust"):
        for text in getattr(options, name, []):
            words += [f"--{name}", text]
    for name, value in given.items():
        if value is not None and value != usual.get(name):
            words += [name, str(value)]
    words += ["--train"] if getattr(options, "train", False) else []
    return shlex.join(words)
