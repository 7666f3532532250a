"""Runs a derived study, or writes its space to a file; shared by evaluate, probe and read."""

from __future__ import annotations

import dataclasses
import shlex
from argparse import Namespace
from pathlib import Path

from orchestrator.commands.options import ledger_of, program, repeated
from orchestrator.commands.output import print_json, say
from orchestrator.commands.sweep import SweepOptions, run_study
from orchestrator.planning.derived_study import DerivedStudy
from trainables.part import require


def run_or_write(derived: DerivedStudy, options: Namespace) -> int:
    """Read the weights of a derived study here, or write the space that ``-o`` names."""
    if not options.train:
        derived.require_weights(ledger_of(options))
    if options.output is not None:
        return _write(derived, Path(options.output), options)
    if not options.json:
        say(f"{derived.name}: {derived.space.question}")
    how = SweepOptions("local", options.silence, options.mirror, options.again)
    space = derived.space
    if options.most is not None:
        space = dataclasses.replace(space, most=options.most)
    command = repeated(options.verb, options.what, options)
    return run_study(derived.name, space, how, options, command)


def _write(derived: DerivedStudy, path: Path, options: Namespace) -> int:
    require(
        path.suffix == ".py" and path.stem.isidentifier(),
        f"-o {path}: a space is a .py file whose name is a Python identifier",
    )
    require(not path.exists(), f"{path} exists; choose another name with -o FILE.py")
    path.write_text(derived.source_code(), encoding="utf-8")
    if options.json:
        print_json({"study": derived.name, "file": str(path)})
    else:
        command = shlex.join([*program(options), "sweep", str(path)])
        say(f"written: {path}; run it with `{command}`")
    return 0
