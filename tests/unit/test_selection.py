"""The best trial of a search and its Pareto front."""

from __future__ import annotations

import optuna
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning import selection
from orchestrator.planning.selection import Standing
from trainables.schemas import Outcome


def standings(scores: dict[str, float]) -> dict[str, Standing]:
    return {digest: Standing((score,)) for digest, score in scores.items()}


def test_best_prefers_finished_over_better_pruned() -> None:
    outcomes: dict[str, Outcome] = {"a": "finished", "b": "pruned", "c": "finished", "d": "failed"}
    known = standings({"a": 0.5, "b": 0.9, "c": 0.6, "d": 1.0})
    assert selection.best(known, outcomes) == "c"
    assert selection.best(standings({"b": 0.9}), {"b": "pruned"}) == "b"
    assert selection.best(standings({"d": 0.9}), {"d": "failed"}) is None


def test_best_breaks_ties_the_same_way_every_time() -> None:
    outcomes: dict[str, Outcome] = dict.fromkeys("zyx", "finished")
    assert selection.best(standings(dict.fromkeys("zyx", 0.5)), outcomes) == "x"


VALUES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12)


@given(values=VALUES, within=st.lists(st.booleans(), min_size=12, max_size=12))
def test_the_front_is_optunas_and_holds_the_best(
    values: list[tuple[int, int]], within: list[bool]
) -> None:
    study = optuna.create_study(directions=["maximize", "maximize"])
    known: dict[str, Standing] = {}
    for i, (pair, fine) in enumerate(zip(values, within, strict=False)):
        known[str(i)] = Standing((float(pair[0]), float(pair[1])), (0.0 if fine else 1.0,))
        trial = study.ask()
        trial.set_constraint("limit", 0.0 if fine else 1.0)
        study.tell(trial, list(pair))
    found = selection.front(known)
    assert sorted(found, key=int) == [str(t.number) for t in study.best_trials]
    outcomes: dict[str, Outcome] = dict.fromkeys(known, "finished")
    best = selection.best(known, outcomes)
    assert (best is None) == (not found)
    assert best is None or best in found
