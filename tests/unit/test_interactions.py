"""The view interactions: what two changes do together, beyond their sum."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from tests.cells import as_counts, commit
from tests.intervals import mean_with_interval


def config(schedule: str, low: float, high: float, seed: int = 0) -> dict[str, Any]:
    fields = {"schedule": {schedule: {}}, "t_low": low, "t_high": high, "members": 2}
    return {"task": "task", "mode": {"diffusion": fields}, "seed": seed}


DICE = {
    ("cosine", "whole"): np.array([0.8, 0.7, 0.6, 0.9]),
    ("cosine", "middle"): np.array([0.7, 0.7, 0.5, 0.9]),
    ("linear", "whole"): np.array([0.6, 0.6, 0.5, 0.7]),
    ("linear", "middle"): np.array([0.7, 0.8, 0.6, 0.7]),
}
RANGES = {"whole": (0.0, 1.0), "middle": (0.2, 0.8)}


def test_an_interaction_is_the_difference_of_differences(ledger: Ledger) -> None:
    """Schedule × range: both ends of the range vary together and are one axis."""
    for i, ((schedule, part), values) in enumerate(DICE.items()):
        for seed in range(2):
            commit(
                ledger,
                f"{i}{seed}".ljust(16, "0"),
                f"{schedule}_{part}",
                as_counts(values - 0.1 * seed),
                seed=seed,
                config=config(schedule, *RANGES[part], seed),
            )
    (row,) = catalog(ledger)["interactions"].to_pylist()  # no calibration, so no ECE
    assert {row["axis"], row["other_axis"]} == {"mode.t_low, mode.t_high", "mode.schedule"}
    value = {
        name: DICE[tuple(row[name].split("_")[1:])] for name in ("base", "one", "other", "both")
    }
    each = (value["both"] - value["other"]) - (value["one"] - value["base"])
    assert abs(each.mean()) == pytest.approx(0.15)
    listed = [(seed, i, v) for seed in range(2) for i, v in enumerate(each.tolist())]
    found = [row[f"interaction{end}"] for end in ("", "_low", "_high")]
    assert found == pytest.approx(mean_with_interval(listed), abs=1e-4)
    assert (row["seeds"], row["images"]) == (2, 4)


def test_every_block_of_a_crossed_study_is_there_once_and_their_number_is_bounded(
    ledger: Ledger,
) -> None:
    """Of 3 schedules × 2 members × 2 lows: each pair of levels of each pair of axes, at each level
    of the third axis.
    """
    axes = itertools.product(("cosine", "linear", "sigmoid"), (1, 2), (0.0, 0.1))
    for i, (schedule, members, low) in enumerate(axes):
        fields = config(schedule, low, 1.0)
        fields["mode"]["diffusion"]["members"] = members
        commit(ledger, f"{i:016x}", f"arm{i:02d}", as_counts([0.5, 0.6]), config=fields)
    rows = catalog(ledger)["interactions"].to_pylist()
    blocks = {frozenset(r[k] for k in ("base", "one", "other", "both")) for r in rows}
    assert len(rows) == len(blocks) == 3 * 2 + 3 * 2 + 3
    assert {r["interaction"] for r in rows} == {0.0}
    for i in range(40):
        fields = config("cosine", 0.01 * (1 + i // 8), 0.9 - 0.01 * (i % 8))
        commit(ledger, f"{1000 + i:016x}", f"more{i:02d}", as_counts([0.5]), config=fields)
    assert catalog(ledger)["interactions"].num_rows == 100


def test_parts_with_a_field_in_common_are_crossed_with_it(ledger: Ledger) -> None:
    """Family × members, beside a cell of another kind that is in no block."""
    diffusion = {"schedule": {"cosine": {"span": 10.0}}, "t_low": 0.0}
    fields: dict[str, Any] = {"diffusion": diffusion, "feedforward": {"loss": "mse"}}
    for i, (mode, members) in enumerate(itertools.product(fields, (1, 8))):
        gain = 0.1 if (mode, members) == ("diffusion", 8) else 0.0
        config = {"mode": {mode: {**fields[mode], "members": members}}}
        counts = as_counts([0.5 + gain, 0.6 + gain])
        commit(ledger, f"{i:016x}", f"{mode}_{members}", counts, config=config)
    alone = {"mode": {"diffusion": {**diffusion, "t_low": 0.3, "members": 1}}}
    commit(ledger, "f" * 16, "other", as_counts([0.1, 0.1]), config=alone)
    (row,) = catalog(ledger)["interactions"].to_pylist()
    assert {row["axis"], row["other_axis"]} == {"mode.members", "mode"}
    assert {row["axis_from"], row["axis_to"]} in ({"1", "8"}, {"diffusion", "feedforward"})
    assert abs(row["interaction"]) == pytest.approx(0.1)


def test_one_axis_has_no_interactions(ledger: Ledger) -> None:
    for i, schedule in enumerate(("cosine", "linear", "sigmoid", "laplace")):
        fields = config(schedule, 0.0, 1.0)
        commit(ledger, f"{i:016x}", schedule, as_counts([0.5, 0.6]), config=fields)
    assert catalog(ledger)["interactions"].num_rows == 0
