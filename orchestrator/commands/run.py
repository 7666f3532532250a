"""``segprint run``: one config, in this process, without Ray."""

from __future__ import annotations

import json
from argparse import Namespace

import torch

import search_spaces
from cluster.local import usable_cpus
from orchestrator.cells import Cell, check, corners
from orchestrator.commands import ledger_of, setting
from orchestrator.ledger import LedgerSink
from orchestrator.provenance import code_version
from trainables.attempt import attempt
from trainables.config import Config
from trainables.part import unknown
from trainables.place import Place, best_device


def main(options: Namespace) -> int:
    """Train and commit; a config that is committed already is not trained again."""
    _, space = search_spaces.load(options.space)
    config = chosen(check(space), options.cell, options.set)
    ledger, digest = ledger_of(options), config.digest()
    commit = ledger.commits().get(digest)
    if commit is None or commit.outcome not in ("finished", "diverged"):
        torch.set_num_threads(usable_cpus())
        run = attempt(config, LedgerSink(ledger, code_version()), Place(device=best_device()))
        for progress in run:
            if progress.score is not None and not options.json:
                print(
                    f"step {progress.step} of {progress.steps}:"
                    f" validation Dice {progress.score:.4f}"
                )
    (row,) = ledger.table("trials", [digest]).to_pylist()
    row["config"] = json.loads(row["config"])
    if options.json:
        print(json.dumps(row, indent=1, default=str))
    else:
        score = "–" if row["score"] is None else f"{row['score']:.4f}"
        print(f"{digest}: {row['outcome']}, best validation Dice {score} at {row['best_step']}")
        if row["reason"]:
            print(f"reason: {row['reason']}")
    return 0 if row["outcome"] == "finished" else 1


def chosen(cells: list[Cell], name: str | None, settings: list[str]) -> Config:
    """The named cell, or the first with something to learn, with values replaced.

    Searched holes take the first choice and the low end unless they are set.
    """
    by_name = {cell.name: cell for cell in cells}
    if name is not None and name not in by_name:
        raise unknown("cell", name, by_name)
    overrides = dict(setting(text) for text in settings)
    learning = (
        cell for cell in cells if cell.config(next(corners(cell.template)), {}, seed=0).model.learns
    )
    cell = by_name[name] if name is not None else next(learning, cells[0])
    return cell.config(next(corners(cell.template)), overrides, seed=0)
