"""Verdict words agree with their interval, their test and each other, on numbers of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.heldout.paired import advantage
from orchestrator.report.cell_names import GREY_LEVEL
from orchestrator.report.sections.leaderboard import baseline_comparisons
from orchestrator.statistics.estimates import Estimate
from orchestrator.statistics.levels import ALPHA
from orchestrator.statistics.verdicts import Evidence, comparison, judge

NUMBER = st.floats(-1, 1, allow_subnormal=False)
P = st.one_of(st.none(), st.just(ALPHA), st.floats(0, 1))
SHARE = st.one_of(st.none(), st.floats(0, 1))


@st.composite
def pairs(draw: st.DrawFn) -> dict[str, Any]:
    """Rows as the view ``ablation`` has them: any interval with any p-value."""
    low, value, high = sorted(draw(st.tuples(NUMBER, NUMBER, NUMBER)))
    return {
        **{"study": "study", "task": "task", "cell": "net", "against": "grey"},
        **{"metric": draw(st.sampled_from(["dice", "ece"])), "p_holm": draw(P)},
        **{"difference": value, "difference_low": low, "difference_high": high},
        **{"difference_method": "bootstrap-t", "better": draw(SHARE)},
        "false_outperformance": draw(SHARE),
    }


@given(pairs())
def test_better_needs_the_interval_the_test_and_most_units(row: dict[str, Any]) -> None:
    sign = advantage(row)
    if sign:
        assert row["difference_low"] > 0 or row["difference_high"] < 0
        assert row["p_holm"] <= ALPHA
        assert (row["difference"] > 0) == (sign > 0 if row["metric"] == "dice" else sign < 0)
        assert row["better"] is None or (row["better"] > 0.5 if sign > 0 else row["better"] < 0.5)


@given(pairs())
def test_the_other_way_round_the_word_is_the_opposite(row: dict[str, Any]) -> None:
    better = None if row["better"] is None else 1 - row["better"]
    turned = {
        **row,
        "difference": -row["difference"],
        "difference_low": -row["difference_high"],
        "difference_high": -row["difference_low"],
        "better": better,
    }
    assert advantage(turned) == -advantage(row)


@given(pairs(), st.sampled_from([-1, 1]))
def test_claims_and_comparisons_never_disagree(row: dict[str, Any], claimed: Any) -> None:
    p = np.nan if row["p_holm"] is None else row["p_holm"]
    ends = (row["difference"], row["difference_low"], row["difference_high"])
    better = row["better"]
    if better is not None and row["metric"] == "ece":
        better = 1 - better
    verdict, _ = judge(Evidence(Estimate(*ends, "bootstrap-t"), p, 12, share_above=better), claimed)
    sign = advantage(row) * (1 if row["metric"] == "dice" else -1)
    assert verdict == {0: "inconclusive", claimed: "holds", -claimed: "does not hold"}[sign]
    assert (comparison(sign) == "not significantly different") == (verdict == "inconclusive")


class Tables(dict[str, Any]):
    """A catalog that has these rows."""

    def __getitem__(self, name: str) -> Any:
        rows = self.get(name)

        class View:
            def to_pylist(self) -> Any:
                return rows

        return View()


@given(pairs())
def test_the_leaderboard_calls_higher_only_what_is_significantly_higher(
    row: dict[str, Any],
) -> None:
    board = [
        {"study": "study", "task": "task", "cell": cell, "model": model, "series": cell}
        for cell, model in (("net", "unet"), ("grey", GREY_LEVEL))
    ]
    row = {**row, "metric": "dice", "p_holm": 1.0 if row["p_holm"] is None else row["p_holm"]}
    (line,) = baseline_comparisons(Tables(ablation=[row]), board)  # pyright: ignore[reportArgumentType]
    words = {1: "has a higher Dice", -1: "has a lower Dice", 0: "does not differ significantly"}
    assert words.pop(advantage(row)) in line
    assert not any(word in line for word in words.values())


@pytest.mark.parametrize(("units", "why"), [(5, "too few"), (6, "may be chance")])
def test_too_few_units_are_named_as_the_reason(units: int, why: str) -> None:
    evidence = Evidence(
        Estimate(0.2, 0.1, 0.3, "bootstrap-t"), 0.1, units, least_p=2.0 ** (1 - units)
    )
    assert judge(evidence, 1)[0] == "inconclusive"
    assert why in evidence.objection
