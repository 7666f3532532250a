"""A small quickstart study, trained in this process: what the pages' commands look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import search_spaces
from orchestrator.ledger import Ledger, LedgerSink
from orchestrator.planning.plan import Plan, Trial, make_plan
from orchestrator.search.history import SearchHistory
from orchestrator.search.optuna_search import unfinished_searches
from orchestrator.storage.object_store import Store
from orchestrator.sweep.declarations import declare, declare_trial
from search_spaces import Space
from trainables.config import Config
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import Outcome
from trainables.training.attempt import attempt, outcome_of

CODE = "c0ffee0"
TASKS = ("nuclei", "brain")
TASK = '''"""Discs in noise."""

from dataclasses import dataclass

from trainables.datasets.synthetic import Synthetic


@dataclass(frozen=True)
class Discs(Synthetic):
    size: int = 16
    cases: int = 6
    discs: int = {discs}
    radius: float = 3.0
'''
QUICKSTART = '''"""{summary}"""

from search_spaces import Choice, Each, Search, Space, Uniform

SPACE = Space(
    question="Do the commands of the pages work?",
    config={{
        "task": Each({tasks}),
        "model": {{
            "ensemdiff": {{"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention": []}}
        }},
        "train": {{"steps": 6, "batch": 4, "validate_every": 3}},
        "probe": {{"bins": 4, "draws": 1}},
    }},
    arms={{
        "grey_level": {{"model": "intensity", "mode": "feedforward", "train.steps": 0}},
        "feedforward": {{"mode": "feedforward"}},
        "diffusion": {{
            "mode": {{
                "diffusion": {{
                    "schedule": Choice(
                        {{"linear": {{}}, "cosine": {{"shift": Uniform(-2.0, 1.0)}}}}
                    ),
                    "sampler": {{"ddim": {{"steps": 2}}}},
                    "members": 2,
                }}
            }}
        }},
    }},
    search=Search(trials=2, overrides={{"train.steps": 3, "probe.bins": 0}}),
)
'''


def spaces(folder: Path, data: Path) -> Path:
    """Every named space in a folder, with a small quickstart on the two tasks below ``data``."""
    shutil.copytree(search_spaces.HERE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    tasks = ", ".join(f'"{data / task}.py"' for task in TASKS)
    quickstart = folder / "quickstart.py"
    summary = search_spaces.summary("quickstart")
    quickstart.write_text(QUICKSTART.format(summary=summary, tasks=tasks), encoding="utf-8")
    return folder


def data_sets(data: Path) -> None:
    """Two drawn tasks, in files of the names that the pages use."""
    data.mkdir()
    for task, discs in zip(TASKS, (3, 5), strict=True):
        (data / f"{task}.py").write_text(TASK.format(discs=discs), encoding="utf-8")


def trained(study: str, space: Space, ledger: Ledger) -> Plan:
    """Everything that a space asks for, trained as a sweep does it, without Ray."""
    while True:
        plan = make_plan(study, space, ledger)
        ledger.studies.describe(
            study,
            {"question": space.question, "arms": list(space.arms), "revision": plan.revision},
        )
        declare(plan, ledger)
        if plan.complete:
            return plan
        for trial in plan.pending:
            _train(trial.config, ledger)
        for search in unfinished_searches(plan, SearchHistory(plan, ledger)):
            values = search.ask("next")
            assert values is not None
            assert space.search is not None
            cell = search.cell
            config = cell.config(values, space.search.overrides, space.search.seed)
            index = plan.next_index[cell.name]
            declare_trial(
                plan, Trial(cell, "search", index, config, values, 1, None, "pending"), ledger
            )
            _train(config, ledger)


def _train(config: Config, ledger: Ledger) -> Outcome:
    return outcome_of(attempt(config, LedgerSink(ledger, CODE), WorkerContext()))


def store(folder: Path, space: Path) -> None:
    """The trained study in ``folder/results``."""
    name, parsed = search_spaces.load(str(space))
    assert trained(name, parsed, Ledger(Store(str(folder / "results")))).complete
