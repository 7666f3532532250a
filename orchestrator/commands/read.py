"""``segprint read``: measure again what newer code measures otherwise, from kept weights."""

from __future__ import annotations

import dataclasses
from argparse import Namespace

from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import print_json, say
from orchestrator.commands.readings import run_or_write
from orchestrator.planning.derived_study import SourceTrial, derive, source_trials
from trainables.config import Config
from trainables.schemas import SCHEMA_VERSION


def main(options: Namespace) -> int:
    """Read the networks of a study whose rows are older than the code."""
    sources = source_trials(ledger_of(options), options.what, options.trust)
    older = {source.cell for source in sources if _is_older(source)}
    if not older:
        if options.json:
            print_json({"study": options.what, "older": 0})
        else:
            say(f"{options.what}: all rows have the columns and the formulas of this version")
        return 0

    def current(source: SourceTrial) -> Config:
        if source.cell not in older or source.config.digest() != source.digest:
            return source.config  # a changed formula has changed the digest already
        test = dataclasses.replace(source.config.test, schema=SCHEMA_VERSION)
        return dataclasses.replace(source.config, test=test)

    name = options.study or f"{options.what.replace('/', '_')}_read"
    question = f"What does this version measure of the networks of {options.what}?"
    derived = derive(name, question, sources, current, train=options.train)
    return run_or_write(derived, options)


def _is_older(source: SourceTrial) -> bool:
    """Whether a trial's rows lack columns, or are of formulas that have changed since."""
    return source.schema < SCHEMA_VERSION or source.config.digest() != source.digest
