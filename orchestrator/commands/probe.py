"""``segprint probe``: a finer fingerprint of the kept networks of a study."""

from __future__ import annotations

import dataclasses
from argparse import Namespace

from orchestrator.commands.options import ledger_of, setting
from orchestrator.commands.readings import run_or_write
from orchestrator.planning.derived_study import SourceTrial, derive, source_trials
from trainables.config import Config
from trainables.modes.diffusion import Diffusion
from trainables.parsing import parse_dataclass
from trainables.part import plain, require
from trainables.settings import Probe


def main(options: Namespace) -> int:
    """Probe the diffusion networks; the results are those of a study of its own."""
    changes = dict(setting(text) for text in options.set)
    require(bool(changes), "probe needs --set FIELD=VALUE, e.g. --set bins=64 --set draws=4")
    sources = [
        source
        for source in source_trials(ledger_of(options), options.what, options.trust)
        if isinstance(source.config.mode, Diffusion)
    ]
    require(bool(sources), f"{options.what}: it has no diffusion trial, so there is no fingerprint")

    def probed(source: SourceTrial) -> Config:
        probe = parse_dataclass(Probe, {**plain(source.config.probe), **changes}, "probe")
        return dataclasses.replace(source.config, probe=probe)

    words = [f"{name}_{value}" for name, value in changes.items()]
    name = options.study or "_".join([options.what.replace("/", "_"), "probe", *words])
    fields = ", ".join(f"{name}={value}" for name, value in changes.items())
    question = f"What is the fingerprint of {options.what} with {fields}?"
    return run_or_write(derive(name, question, sources, probed, train=options.train), options)
