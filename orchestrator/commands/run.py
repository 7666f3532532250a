"""``segprint run``: train one config in this process, without Ray, or reproduce a stored trial."""

from __future__ import annotations

import dataclasses
import json
import re
from argparse import Namespace
from collections.abc import Iterable

import torch

import search_spaces
from cluster.local import usable_cpus
from orchestrator.commands.options import ledger_of, setting
from orchestrator.commands.output import emit, print_json, say
from orchestrator.ledger.sink import LedgerSink
from orchestrator.planning.cells import Cell
from orchestrator.planning.validation import check
from orchestrator.provenance import code_version
from orchestrator.reproduce import InMemorySink, load_trial, reproduction, train_again
from orchestrator.tables.snapshot import Snapshot
from trainables.config import Config
from trainables.models import require_installed
from trainables.part import unknown
from trainables.runtime.worker_context import WorkerContext, best_device
from trainables.training.attempt import attempt
from trainables.training.loop import Progress


def main(options: Namespace) -> int:
    """Train a config of a space, or a committed trial again."""
    if options.threads is not None and options.threads < 1:
        raise ValueError(f"--threads {options.threads} must be at least 1")
    is_digest = re.fullmatch(r"[0-9a-f]{16}", options.what)
    return _reproduce(options) if is_digest else _train(options)


def _train(options: Namespace) -> int:
    """Train and commit a config, unless it is committed already."""
    _, space = search_spaces.load(options.what)
    config = chosen(check(space), options.cell, options.set)
    require_installed(config.model)
    ledger, digest = ledger_of(options), config.digest()
    commit = ledger.commits().get(digest)
    known = commit is not None and commit.outcome in ("finished", "diverged")
    if not known:
        torch.set_num_threads(options.threads or usable_cpus())
        sink = LedgerSink(ledger, code_version())
        place = WorkerContext(
            device=best_device(),
            microbatch_factor=ledger.failed_attempts.microbatch_factors([digest])[digest],
        )
        every = space.checkpoint_every
        _follow(attempt(config, sink, place, digest, every), quiet=options.json)
    (row,) = Snapshot(ledger.store).table("trials", [digest]).to_pylist()
    row["config"] = json.loads(row["config"])
    if options.json:
        print_json(row)
    else:
        score = "no validation"
        if row["score"] is not None:
            score = f"best validation Dice {row['score']:.4f} at step {row['best_step']}"
        before = "; it was committed before, and nothing was trained" if known else ""
        say(f"{digest}: {row['outcome']}, {score}{before}")
        if row["reason"]:
            say(f"reason: {row['reason']}")
    return 0 if row["outcome"] == "finished" else 1


def _reproduce(options: Namespace) -> int:
    """Train a committed trial again and compare; nothing is written to the store."""
    if options.cell is not None or options.set:
        raise ValueError("--cell and --set select a config of a space, a digest names one config")
    stored = load_trial(ledger_of(options), options.what, options.trust)
    torch.set_num_threads(options.threads or stored.trial["threads"] or 1)
    sink = InMemorySink(code_version())
    context = WorkerContext(device=best_device(), microbatch_factor=stored.microbatch_factor)
    _follow(train_again(stored, sink, context), quiet=options.json)
    result = reproduction(stored, sink, context)
    if options.json:
        print_json(dataclasses.asdict(result) | {"reproduced": result.reproduced})
        return 0 if result.reproduced else 1
    emit(map(dataclasses.asdict, result.compared), None, False)
    for s in result.settings:
        say(f"{s.what}: {s.here} here, was {s.stored}")
    say(f"{options.what}: {result.verdict}")
    return 0 if result.reproduced else 1


def _follow(run: Iterable[Progress], *, quiet: bool) -> None:
    for progress in run:
        if progress.score is not None and not quiet:
            say(f"step {progress.step} of {progress.steps}: validation Dice {progress.score:.4f}")


def chosen(cells: list[Cell], name: str | None, settings: list[str]) -> Config:
    """Return a config of the named cell (default: the first that trains), with values replaced.

    Searched parameters take their first choice or lower bound unless they are set.
    """
    by_name = {cell.name: cell for cell in cells}
    if name is not None and name not in by_name:
        raise unknown("cell", name, by_name)
    overrides = dict(setting(text) for text in settings)
    learning = (cell for cell in cells if cell.config(cell.example, {}, seed=0).model.learns)
    cell = by_name[name] if name is not None else next(learning, cells[0])
    return cell.config(cell.example, overrides, seed=0)
