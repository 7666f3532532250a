"""A committed search in Optuna's own storage: Optuna is asked what it finds there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import make_plan
from search_spaces import load
from tests.conftest import SMALL, Segprint
from trainables.schemas import Outcome

MINE = f"""from search_spaces import *
SPACE = Space(
    question="Which?",
    config={SMALL!r},
    arms={{
        "plain": {{"mode": "feedforward"}},
        "searched": {{
            "mode.diffusion.schedule": Choice(
                {{"linear": {{}}, "cosine": {{"shift": Uniform(-2, 1)}}}}
            )
        }},
    }},
    search=Search(trials=4),
)
"""
PATH = "mode.diffusion.schedule"
COSINE = {PATH: "cosine", f"{PATH}.cosine.shift": 0.5}


def searched(ledger: Ledger, space: str, index: int, values: dict[str, Any]) -> str:
    """Declare a search trial, as a sweep does."""
    made = make_plan(*load(space), ledger)
    cell = next(c for c in made.cells if c.searched)
    digest = cell.config(values, {}, 0).digest()
    ledger.studies.declare(
        Declared("mine", made.revision, cell.name, "search", index, digest),
        {"arm": cell.arm, "config": {}, "values": values, "workers": 1},
    )
    return digest


def commit(ledger: Ledger, digest: str, outcome: Outcome, scores: list[float]) -> None:
    trial = {"outcome": outcome, "score": max(scores, default=None)}
    steps = [
        {"step": 2 * i + 2, "score_sum": score, "score_count": 1} for i, score in enumerate(scores)
    ]
    ledger.commit(digest, outcome, {"trials": [trial], "steps": steps})


def test_optuna_finds_states_values_distributions_and_digests(
    inline: Segprint, ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    space, file = str(tmp_path / "mine.py"), tmp_path / "search.db"
    shifted = {**COSINE, f"{PATH}.cosine.shift": -1.0}
    digests = [
        searched(ledger, space, i, v) for i, v in enumerate(({PATH: "linear"}, COSINE, shifted))
    ]
    waiting = searched(ledger, space, 3, {**COSINE, f"{PATH}.cosine.shift": 0.0})
    commit(ledger, digests[0], "pruned", [0.25])
    commit(ledger, digests[1], "finished", [0.5, 0.75])
    commit(ledger, digests[2], "diverged", [])
    store = ["--store", ledger.store.url]
    done = inline(*store, "export", "--format", "optuna", space, "-o", str(file))
    assert done.returncode == 0, done.stderr
    assert optuna.get_all_study_names(f"sqlite:///{file}") == ["mine/searched"]
    study = optuna.load_study(study_name="mine/searched", storage=f"sqlite:///{file}")
    trials = {t.user_attrs["digest"]: t for t in study.trials}
    assert list(trials) == digests
    assert waiting not in trials
    pruned, finished, diverged = trials.values()
    assert [t.state for t in trials.values()] == [
        TrialState.PRUNED,
        TrialState.COMPLETE,
        TrialState.FAIL,
    ]
    assert pruned.intermediate_values == {2: 0.25}
    assert finished.intermediate_values == {2: 0.5, 4: 0.75}
    assert finished.params == COSINE
    assert finished.distributions == {
        PATH: CategoricalDistribution(["linear", "cosine"]),
        f"{PATH}.cosine.shift": FloatDistribution(-2.0, 1.0),
    }
    assert diverged.params == shifted
    assert study.best_trial.user_attrs["digest"] == digests[1]
    again = inline(*store, "export", "--format", "optuna", space, "-o", str(file))
    assert again.returncode == 2
    assert "exists already; export to a new file" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quickstrat"], "did you mean 'quickstart'"),
        ([], "takes one space"),
        (["architectures"], "has no searched parameter"),
    ],
)
def test_what_cannot_be_exported_is_named(
    inline: Segprint, arguments: list[str], message: str
) -> None:
    done = inline("export", "--format", "optuna", *arguments, "-o", "search.db")
    assert done.returncode == 2
    assert message in done.stderr
