from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import pytest

from orchestrator.planning.cells import Cell
from orchestrator.planning.selection import Standing
from orchestrator.search.history import PastTrial
from orchestrator.search.optuna_search import CellSearch
from search_spaces import Choice, Integer, LogUniform, Search, Uniform
from tests.conftest import SMALL
from trainables.schemas import Outcome

CELL = Cell(
    "cell",
    "arm",
    {
        **SMALL,
        "mode": {
            "diffusion": {
                "schedule": Choice({"linear": {}, "cosine": {"shift": Uniform(-2.0, 1.0)}}),
                "members": Integer(1, 3),
                "encoding": {"onehot": {"scale": LogUniform(0.1, 2.0)}},
                "sampler": {"ddim": {"steps": 2}},
            }
        },
    },
)
PATH = "mode.diffusion.schedule"


Asked = list[dict[str, object]]


def drive(past: list[PastTrial], trials: int, seed: int = 0, cell: Cell = CELL) -> Asked:
    search, asked = CellSearch(cell, past, Search(trials=trials, seed=seed)), Asked()
    while search.left > 0:
        name = str(len(asked))
        values = search.ask(name)
        assert values is not None
        search.report(name, 1, score(values))
        search.tell(name, "finished", Standing((score(values),)))
        asked.append(values)
    return asked


def score(values: Mapping[str, object]) -> float:
    return float(values[PATH] == "cosine")


def told(values: dict[str, object]) -> PastTrial:
    """As the ledger remembers what :func:`drive` told."""
    return PastTrial(values, "finished", Standing((score(values),)), {1: score(values)})


def test_suggestions_are_in_their_ranges_and_conditional() -> None:
    for values in drive([], trials=12):
        assert (f"{PATH}.cosine.shift" in values) == (values[PATH] == "cosine")
        assert values["mode.diffusion.members"] in (1, 2, 3)
        assert 0.1 <= float(str(values["mode.diffusion.encoding.onehot.scale"])) <= 2.0


def test_the_same_seed_asks_the_same() -> None:
    assert drive([], trials=6) == drive([], trials=6)
    assert drive([], trials=6) != drive([], trials=6, seed=1)


def test_an_interrupted_suggestion_is_first_in_line_and_exactly_repeated() -> None:
    values = drive([], trials=2)
    past = [told(values[0]), PastTrial(values[1], None)]
    resumed = drive(past, trials=4)
    assert resumed[0] == values[1]
    assert len(resumed) == 3


def test_a_resumed_search_does_not_repeat_what_it_asked_before() -> None:
    asked = drive([], trials=3)
    past = [told(v) for v in asked]
    assert all(v not in asked for v in drive(past, trials=6))


@pytest.mark.parametrize("done", range(1, 10))
def test_a_search_in_two_processes_asks_the_same_as_in_one(done: int) -> None:
    """Beyond the random start too: the sampler learns from the rows what it had been told."""
    whole = drive([], trials=10)
    rest = drive([told(v) for v in whole[:done]], trials=10)
    assert whole[:done] + rest == whole
    struck = drive([*(told(v) for v in whole[:done]), PastTrial(whole[done], None)], trials=10)
    assert whole[:done] + struck == whole


def test_the_search_learns_from_committed_results() -> None:
    past = [told(v) for v in drive([], trials=12)]
    assert {p.values[PATH] for p in past} == {"linear", "cosine"}
    later = drive(past, trials=24)
    share = sum(v[PATH] == "cosine" for v in later) / len(later)
    assert share > 0.6


def states(search: CellSearch) -> list[str]:
    return [trial.state.name for trial in search.study.trials]


LISTED = Cell(
    "cell",
    "arm",
    {
        **SMALL,
        "mode": {
            "diffusion": {
                "schedule": Choice(["linear", "cosine"]),
                "evidence": Choice([True, False]),
                "members": Integer(1, 5, step=2),
            }
        },
        "train": {
            "batch": Choice([1, 2, 4]),
            "ema": Uniform(0.1, 0.9, step=0.1),
            "weight_decay": Choice([0.0, 1]),
        },
    },
)


def test_listed_values_and_steps_are_suggested_with_their_types_and_survive_the_store() -> None:
    """A sampler that learnt from stored values suggests the same as one that never stopped."""
    whole = drive([], trials=16, cell=LISTED)
    seen = {path: {repr(values[path]) for values in whole} for path in whole[0]}
    assert seen["mode.diffusion.evidence"] == {"True", "False"}
    assert seen["train.batch"] == {"1", "2", "4"}
    assert seen["train.weight_decay"] == {"0.0", "1"}
    assert seen["mode.diffusion.members"] <= {"1", "3", "5"}
    assert seen["train.ema"] <= {repr(k / 10) for k in range(1, 10)}  # as written
    stored = [json.loads(json.dumps(values)) for values in whole]
    assert all(map(LISTED.accepts, stored))
    rest = drive([told(values) for values in stored[:12]], trials=16, cell=LISTED)
    assert repr(whole[:12] + rest) == repr(whole)


def test_failed_and_pruned_trials_are_told_and_do_not_count_as_results() -> None:
    search = CellSearch(CELL, [], Search(trials=4))
    outcomes: list[Outcome] = ["diverged", "failed", "pruned", "finished"]
    for i, outcome in enumerate(outcomes):
        search.ask(str(i))
        search.report(str(i), 5, 0.25)
        search.tell(str(i), outcome, Standing((0.9,)))
    assert states(search) == ["FAIL", "FAIL", "PRUNED", "COMPLETE"]
    pruned = search.study.trials[2]
    assert pruned.intermediate_values == {5: 0.25}


def test_a_number_that_is_none_never_reaches_optuna() -> None:
    search = CellSearch(CELL, [], Search(trials=2))
    search.ask("a")
    search.report("a", 1, float("nan"))
    search.report("a", 2, float("inf"))
    search.tell("a", "finished", None)
    assert states(search) == ["FAIL"]
    assert search.study.trials[0].intermediate_values == {}


def test_several_objectives_and_limits_are_all_told_now_and_from_the_ledger() -> None:
    settings = Search(trials=4, objectives=("dice", "-ece"), limits={"device_seconds": 20})
    search, past = CellSearch(CELL, [], settings), list[PastTrial]()
    for name, values, excess in (("a", (0.9, -0.1), -3.0), ("b", (0.8, -0.05), 5.0)):
        asked = search.ask(name)
        assert asked is not None
        search.tell(name, "finished", Standing(values, (excess,)))
        past.append(PastTrial(asked, "finished", Standing(values, (excess,))))
    again = CellSearch(CELL, past, settings)
    for study in (search.study, again.study):
        assert [t.values for t in study.trials] == [[0.9, -0.1], [0.8, -0.05]]
        assert [t.constraints for t in study.trials] == [
            {"device_seconds": -3.0},
            {"device_seconds": 5.0},
        ]
        assert [t.values for t in study.best_trials] == [[0.9, -0.1]]  # the other is infeasible
    assert again.ask("c") == search.ask("c")


def test_what_breaks_a_constraint_is_told_as_failed_and_asked_again() -> None:
    rule = "mode.diffusion.members >= 2 and mode.diffusion.schedule == 'cosine'"
    asked = drive([], trials=8, cell=dataclasses.replace(CELL, constraints=(rule,)))
    assert len(asked) == 8
    for values in asked:
        assert values[PATH] == "cosine"
        assert int(str(values["mode.diffusion.members"])) >= 2
    search = CellSearch(dataclasses.replace(CELL, constraints=(rule,)), [], Search(trials=8))
    for i in range(8):
        search.ask(str(i))
    assert set(states(search)) == {"FAIL", "RUNNING"}
    assert states(search).count("RUNNING") == 8


def test_a_search_that_nothing_satisfies_ends() -> None:
    never = dataclasses.replace(CELL, constraints=("mode.diffusion.members > 3",))
    search = CellSearch(never, [], Search(trials=5))
    assert search.ask("a") is None
    assert search.left == 0
    assert set(states(search)) == {"FAIL"}


def test_values_that_make_no_config_are_asked_again() -> None:
    """Both ends of both ranges do, so nothing was refused before."""
    ends = {"t_low": Uniform(0.0, 0.6), "t_high": Uniform(0.4, 1.0)}
    cell = Cell("ends", "arm", {**SMALL, "mode": {"diffusion": ends}})
    search = CellSearch(cell, [], Search(trials=20))
    for i in range(20):
        values = search.ask(str(i))
        assert values is not None
        assert values["mode.diffusion.t_low"] < values["mode.diffusion.t_high"]
    assert "FAIL" in states(search)


def test_more_passes_than_the_limit_are_never_trained() -> None:
    search = CellSearch(CELL, [], Search(trials=6, limits={"passes": 4}))
    asked = [search.ask(str(i)) for i in range(6)]
    assert {v["mode.diffusion.members"] for v in asked if v is not None} == {1, 2}  # of 2 steps


def test_what_other_studies_know_is_told_and_not_counted() -> None:
    known = [dataclasses.replace(told(v), warm_start=True) for v in drive([], trials=12, seed=3)]
    search = CellSearch(CELL, known, Search(trials=4))
    assert search.left == 4
    assert states(search) == ["COMPLETE"] * 12
