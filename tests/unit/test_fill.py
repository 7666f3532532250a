from __future__ import annotations

import pytest

from orchestrator.cells import Cell, Past
from orchestrator.fill import CellSearch
from search_spaces import Choice, Integer, LogUniform, Uniform
from tests.conftest import SMALL

CELL = Cell(
    "cell",
    "arm",
    {
        **SMALL,
        "mode": {
            "diffusion": {
                "schedule": Choice({"linear": {}, "cosine": {"shift": Uniform(-2.0, 1.0)}}),
                "members": Integer(1, 3),
                "scale": LogUniform(0.1, 2.0),
            }
        },
    },
)
PATH = "mode.diffusion.schedule"


def drive(past: list[Past], trials: int, seed: int = 0) -> list[dict[str, object]]:
    search, asked = CellSearch(CELL, past, trials, seed), []
    while search.left > 0:
        values = search.ask(str(len(asked)))
        score = float(values[PATH] == "cosine")
        search.report(str(len(asked)), 1, score)
        search.tell(str(len(asked)), "finished", score)
        asked.append(values)
    return asked


def test_suggestions_are_in_their_ranges_and_conditional() -> None:
    for values in drive([], trials=12):
        assert (f"{PATH}.cosine.shift" in values) == (values[PATH] == "cosine")
        assert values["mode.diffusion.members"] in (1, 2, 3)
        assert 0.1 <= float(str(values["mode.diffusion.scale"])) <= 2.0


def test_the_same_seed_asks_the_same() -> None:
    assert drive([], trials=6) == drive([], trials=6)
    assert drive([], trials=6) != drive([], trials=6, seed=1)


def test_an_interrupted_suggestion_is_first_in_line_and_exactly_repeated() -> None:
    values = drive([], trials=2)
    past = [Past(values[0], "finished", 0.3), Past(values[1], None, None)]
    resumed = drive(past, trials=4)
    assert resumed[0] == values[1]
    assert len(resumed) == 3


def test_a_resumed_search_does_not_repeat_what_it_asked_before() -> None:
    asked = drive([], trials=3)
    past = [Past(v, "finished", 0.5) for v in asked]
    assert all(v not in asked for v in drive(past, trials=6))


@pytest.mark.filterwarnings("ignore")
def test_the_search_learns_from_committed_results() -> None:
    past = [Past(v, "finished", float(v[PATH] == "cosine")) for v in drive([], trials=12)]
    assert {p.values[PATH] for p in past} == {"linear", "cosine"}
    later = drive(past, trials=24)
    share = sum(v[PATH] == "cosine" for v in later) / len(later)
    assert share > 0.6


def test_failed_and_pruned_trials_are_told_and_do_not_count_as_results() -> None:
    search = CellSearch(CELL, [], 3, 0)
    for i, outcome in enumerate(("diverged", "pruned", "finished")):
        search.ask(str(i))
        search.tell(str(i), outcome, 0.9)  # type: ignore[arg-type]
    states = [t.state.name for t in search._searcher._ot_study.trials]
    assert states == ["FAIL", "PRUNED", "COMPLETE"]
