"""What a search suggests, and what becomes of it in a round."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import Trial, make_plan
from orchestrator.search.history import SearchHistory
from orchestrator.search.optuna_search import unfinished_searches
from orchestrator.storage.object_store import Store
from orchestrator.sweep.declarations import declare_trial
from search_spaces import Choice, Integer, Search
from tests.rounds import SEARCHED, SPACE, begun, drive


def test_a_search_that_repeats_itself_ends_and_trains_nothing_twice(ledger: Ledger) -> None:
    first = drive(ledger)
    assert len(first) == len(set(first)) == 2  # six suggestions over two configs
    made = make_plan("s", SPACE, ledger)
    assert made.suggestions_left == {}
    assert made.complete  # the chosen config is one that was searched at full length
    assert [t.state for t in made.trials if t.stage == "final"] == ["done"]
    drive(ledger)
    declared = ledger.studies.current("s")
    assert [d.stage for d in declared].count("final") == 1
    assert [d.stage for d in declared].count("search") == 6


def test_repeated_suggestions_are_taken_off_what_is_left(ledger: Ledger) -> None:
    run = begun(ledger, SPACE)
    run.display.renew(run.plan)
    assert run.display.left == 6 + 1
    drive(ledger, run=run)
    assert run.display.left == 1  # the final trial, whose config is known after the round


def test_a_config_that_waits_in_two_cells_is_run_once_and_told_to_both(ledger: Ledger) -> None:
    """Both suggested it, and its worker was lost with the driver."""
    arms = {
        name: {"mode": {"diffusion": {"schedule": Choice(options)}}}
        for name, options in {"x": ["linear"], "y": ["linear", "cosine"]}.items()
    }
    space = dataclasses.replace(SPACE, arms=arms, search=Search(trials=2))
    made = make_plan("s", space, ledger)
    ledger.studies.describe("s", {"revision": made.revision})
    for cell in made.cells:
        values = {"mode.diffusion.schedule": "linear"}
        config = cell.config(values, {}, 0)
        trial = Trial(cell, "search", 0, config, values, 1, None, "pending")
        declare_trial(made, trial, ledger)
    run = begun(ledger, space)
    handed = [trial for i in range(9) if (trial := run.next(f"tune{i}")) is not None]
    by_cell = {trial.cell.name: trial.values for trial in handed}
    assert by_cell["x"] == {"mode.diffusion.schedule": "linear"}
    assert len({trial.digest for trial in handed}) == len(handed)
    declared = [d for d in ledger.studies.current("s") if d.stage == "search"]
    assert max(d.index for d in declared) == 1  # two of each cell, as the search asks


def test_suggestions_that_an_edited_space_makes_invalid_are_left_out(ledger: Ledger) -> None:
    """Only the ends of a range are checked beforehand: 12 is no multiple of 8."""
    config = {**SPACE.config, "train": {"batch": Integer(8, 16, step=4), "accumulate": 4}}
    config["train"] |= {"steps": 6, "validate_every": 2}
    before = dataclasses.replace(
        SPACE, config=config, arms={"default": {}}, search=Search(trials=2)
    )
    made = make_plan("s", before, ledger)
    (cell,) = made.cells
    values = {"train.batch": 12}
    trial = Trial(cell, "search", 0, cell.config(values, {}, 0), values, 1, None, "pending")
    declare_trial(made, trial, ledger)
    config = {**config, "train": {**config["train"], "accumulate": 8}}
    after = make_plan("s", dataclasses.replace(before, config=config), ledger)
    assert [t for t in after.trials if t.stage == "search"] == []


def test_suggestions_are_valid_in_a_search_trial_with_its_overrides(ledger: Ledger) -> None:
    config = {**SPACE.config, "train": {"batch": 12, "accumulate": Integer(1, 4)}}
    config["train"] |= {"steps": 6, "validate_every": 2}
    search = Search(trials=12, overrides={"train.batch": 4})
    space = dataclasses.replace(SPACE, config=config, arms={"default": {}}, search=search)
    made = make_plan("s", space, ledger)
    (searching,) = unfinished_searches(made, SearchHistory(made, ledger))
    asked = [searching.ask(f"t{i}") for i in range(12)]
    assert {values["train.accumulate"] for values in asked if values is not None} <= {1, 2, 4}


def test_an_interrupted_round_goes_on_where_it_was(ledger: Ledger) -> None:
    first = drive(ledger, most=1)
    second = drive(ledger)
    assert not set(first) & set(second)
    assert make_plan("s", SPACE, ledger).complete


def test_a_search_asks_the_same_whether_or_not_it_is_interrupted(tmp_path: Path) -> None:
    whole, again, struck = (Ledger(Store(str(tmp_path / name))) for name in "abc")
    asked = drive(whole, space=SEARCHED)
    assert len(set(asked)) == 10
    assert drive(again, space=SEARCHED) == asked
    parts = [drive(struck, most, SEARCHED) for most in (1, 4, 2, 9)]
    assert [digest for part in parts for digest in part] == asked


def test_a_suggestion_in_flight_when_struck_comes_first(tmp_path: Path) -> None:
    whole, struck = (Ledger(Store(str(tmp_path / name))) for name in "ab")
    asked = drive(whole, space=SEARCHED)
    assert drive(struck, 5, SEARCHED) == asked[:5]
    trial = begun(struck, SEARCHED).next("lost")
    assert trial is not None
    assert trial.digest == asked[5]
    assert drive(struck, space=SEARCHED) == asked[5:]
