"""Units: decided and drawn for all classes of a task together, and no interval of a single one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.analyses import catalog
from orchestrator.fingerprint import failure_signs
from orchestrator.heldout.rows import HeldOutRows
from orchestrator.ledger.ledger import Ledger
from orchestrator.statistics.estimates import Estimate
from tests.cells import commit
from tests.conftest import Segprint
from trainables.schemas import SCHEMAS

PATIENTS, SLICES, RUNS = 8, 5, 2
WITH_LESION = {0, 2, 3, 5, 7}
"""Five patients: alone, they are fewer than the six groups that are units."""


def organ_and_lesion() -> HeldOutRows:
    rows: list[dict[str, Any]] = [
        {
            **{"digest": f"d{run}", "split": "test", "reading": "sample", "class": name},
            **{"case": f"p{patient}/{place}", "group": f"p{patient}", "tp": 1.0},
        }
        for run in range(RUNS)
        for patient in range(PATIENTS)
        for place in range(SLICES)
        for name in ("organ", "lesion")
        if name == "organ" or patient in WITH_LESION
    ]
    names = SCHEMAS["cases"].names
    columns = {name: [row.get(name, 0.0) for row in rows] for name in names}
    table = pa.table({k: columns[k] for k in names}).cast(SCHEMAS["cases"])
    return HeldOutRows("cases", table, {f"d{run}" for run in range(RUNS)})


def test_a_class_in_few_patients_has_the_units_of_its_task() -> None:
    table = organ_and_lesion()
    by_class = table.by_class(np.arange(len(table.codes["digest"])))
    for cases in by_class.values():
        np.testing.assert_array_equal(cases.units, cases.groups)
    assert len(np.unique(by_class["organ"].units)) == PATIENTS
    assert len(np.unique(by_class["lesion"].units)) == len(WITH_LESION)


def test_classes_are_resampled_together() -> None:
    table = organ_and_lesion()
    by_class = table.by_class(np.arange(len(table.codes["digest"])))
    organ, lesion = by_class["organ"], by_class["lesion"]
    place = {pair: i for i, pair in enumerate(zip(organ.runs, organ.cases, strict=True))}
    same = [place[pair] for pair in zip(lesion.runs, lesion.cases, strict=True)]
    np.testing.assert_array_equal(organ.weights[:, same], lesion.weights)
    assert organ.weights.std() > 0


def test_a_single_case_has_no_interval_of_a_pooled_metric(ledger: Ledger) -> None:
    for digest, arm, p in (("a", "one", 0.9), ("b", "other", 0.8)):
        commit(ledger, digest * 16, arm, [(5, 1, 1)], {"c0": [(p, 100, 60)]})
    tables = catalog(ledger)
    for row in tables["leaderboard"].to_pylist():
        assert row["ece"] > 0.1
        assert (row["ece_low"], row["ece_high"], row["dice_low"]) == (None, None, None)
    for row in tables["ablation"].to_pylist():
        assert (row["difference_low"], row["false_outperformance"]) == (None, None)


def test_counts_are_of_the_cases_for_which_the_metric_is_defined(
    ledger: Ledger, inline: Segprint
) -> None:
    """Three of eight cases have foreground, and only these have a Dice of the foreground."""
    for digest, arm in (("a", "one"), ("b", "other")):
        commit(ledger, digest * 16, arm, [*[(5, 1, 1)] * 3, *[(0, 1, 0)] * 5])
    said = inline("--store", ledger.store.url, "compare", "study/one", "study/other", "--json")
    counts = {row["metric"]: (row["images"], row["units"]) for row in json.loads(said.stdout)}
    assert counts["dice"] == (8, 8)
    assert counts["dice_foreground"] == (3, 3)


@pytest.mark.parametrize(("low", "high"), [(np.nan, np.nan), (-0.1, 0.2)])
def test_a_disagreement_that_may_be_chance_is_no_sign(low: float, high: float) -> None:
    def sure(value: float) -> Estimate:
        return Estimate(value, value, value, "bootstrap-t")

    estimates = {"information_orthogonal": sure(0.2), "information": sure(0.25)}
    estimates["disagreement"] = Estimate(0.05, low, high, "bootstrap-t")
    assert list(failure_signs.of_estimators(estimates)) == []
    estimates["disagreement"] = sure(0.05)
    assert len(list(failure_signs.of_estimators(estimates))) == 1
