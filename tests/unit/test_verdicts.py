"""Verdict words agree with their interval, their test and each other, on numbers of every kind."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analyses import catalog
from orchestrator.heldout.paired import advantage
from orchestrator.ledger.ledger import Ledger
from orchestrator.report import summary
from orchestrator.report.cell_names import GREY_LEVEL, CellNames
from orchestrator.report.sections import comparisons, effects
from orchestrator.report.sections.leaderboard import baseline_comparisons
from orchestrator.statistics.estimates import Estimate
from orchestrator.statistics.levels import ALPHA
from orchestrator.statistics.verdicts import Evidence, comparison, judge
from tests.cells import as_counts, commit
from tests.conftest import Segprint

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


@given(pairs())
def test_every_place_of_the_page_has_the_same_verdict(row: dict[str, Any]) -> None:
    """The summary, the forest plot, the table of effects, and the pair turned round."""
    sign = advantage(row)
    row = {**row, "p_holm": 1.0 if row["p_holm"] is None else row["p_holm"]}
    words = {
        1: "is significantly better than",
        -1: "is significantly worse than",
        0: "does not differ significantly from",
    }
    line = summary.Margin("task", row, "net", "grey").sentence
    assert [value for value, word in words.items() if word in line] == [sign]
    back = summary.turned([row], "study", "grey", "net")
    assert back is not None
    turned = summary.Margin("task", back, "grey", "net").sentence
    assert words[-sign] in turned
    assert (comparisons.significance(row) == comparisons.SIGNIFICANT) == (sign != 0)
    level = {**row, "level": "a", "baseline": "b"}
    assert effects.texts(level)["verdict"] == comparison(sign)


def test_views_page_and_command_agree_on_trained_cells(ledger: Ledger, inline: Segprint) -> None:
    """A clear, a doubtful and no difference: compare, view, page and table for a paper."""
    draws = np.random.default_rng(0)
    base = draws.uniform(0.5, 0.6, 12)
    noise = 0.01 * draws.normal(size=(3, 12))
    for i, (arm, gain) in enumerate({"base": 0.0, "better": 0.1, "alike": 0.001}.items()):
        commit(ledger, f"{i}" * 16, arm, as_counts(base + gain + noise[i]))
    tables = catalog(ledger)
    words = {
        (row["cell"], row["against"]): (comparison(advantage(row)), row)
        for row in tables["ablation"].to_pylist()
        if row["metric"] == "dice"
    }
    for (one, other), (word, row) in words.items():
        sure = (row["difference_low"] > 0 or row["difference_high"] < 0) and row["p_holm"] <= ALPHA
        assert (word != comparison(0)) == (sure and row["better"] != 0.5), (one, other)
    assert len({word for word, _ in words.values()}) > 1
    store = ledger.store.url
    done = inline("--store", store, "compare", "study/better", "study/base", "--json")
    (row,) = (row for row in json.loads(done.stdout) if row["metric"] == "dice")
    assert row["verdict"] == "better"
    (best, margin, *_) = summary.findings(tables, CellNames(tables))
    assert "better" in best.text
    assert "better is significantly better than" in margin.text


@pytest.mark.parametrize(("units", "why"), [(5, "too few"), (6, "may be chance")])
def test_too_few_units_are_named_as_the_reason(units: int, why: str) -> None:
    evidence = Evidence(
        Estimate(0.2, 0.1, 0.3, "bootstrap-t"), 0.1, units, least_p=2.0 ** (1 - units)
    )
    assert judge(evidence, 1)[0] == "inconclusive"
    assert why in evidence.objection
