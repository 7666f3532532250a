"""The page opens with what was found, and its caveats name what the intervals leave out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.report import build_sections, write_report
from orchestrator.report.blocks import Table
from orchestrator.report.caveats import caveats
from orchestrator.report.cell_names import CellNames
from orchestrator.report.summary import findings
from orchestrator.statistics.power import POWER, Design, Spread, more_units, power
from tests.cells import as_counts, commit

CASES = 12
OF_CASE = np.random.default_rng(2).uniform(0.5, 0.7, CASES)


def train(ledger: Ledger, arm: str, gain: float, seed: int = 0, noise: float = 0.01) -> None:
    draws = np.random.default_rng([len(arm), seed])
    values = OF_CASE + gain + noise * draws.normal(size=CASES)
    digest = f"{len(arm)}{seed}".ljust(16, "0")
    commit(ledger, digest, arm, as_counts(values), seed=seed, config={"model": {arm: {}}})


def sentences_of(ledger: Ledger) -> dict[str, str]:
    tables = catalog(ledger)
    return {found.title: found.text for found in findings(tables, CellNames(tables))}


def test_the_three_sentences_have_the_numbers_of_the_views(ledger: Ledger) -> None:
    train(ledger, "base", 0.0)
    train(ledger, "better", 0.1)
    ledger.studies.describe(
        "study", {"question": "", "arms": [], "revision": "r1", "baseline": "base"}
    )
    sentences = sentences_of(ledger)
    assert list(sentences) == ["Best Dice", "Against the baseline base", "Inconclusive"]
    board = {row["arm"]: row for row in catalog(ledger)["leaderboard"].to_pylist()}
    best = board["better"]
    numbers = [f"{best[key]:.3f}" for key in ("dice", "dice_low", "dice_high")]
    assert "better, {} [{}, {}], n = 12 cases".format(*numbers) in sentences["Best Dice"]
    (pair,) = (r for r in catalog(ledger)["ablation"].to_pylist() if r["metric"] == "dice")
    text = sentences["Against the baseline base"]
    assert f"{pair['difference']:+.3f} [{pair['difference_low']:+.3f}" in text
    assert "better is significantly better than base" in text
    assert sentences["Inconclusive"] == "nothing in this comparison."


def test_an_inconclusive_comparison_says_what_would_decide_it(ledger: Ledger) -> None:
    train(ledger, "one", 0.0, noise=0.02)
    train(ledger, "second", 0.008, noise=0.02)
    text = sentences_of(ledger)["Inconclusive"]
    found = re.search(r"about (\d+) cases \(now 12\)", text)
    assert found, text
    assert int(found[1]) > CASES


def test_the_units_that_are_named_have_the_power() -> None:
    spread, design = Spread(0.05), Design(12, 1, 3)
    units = more_units(spread, design, 0.02)
    assert units is not None
    assert power(spread, design._replace(units=units), 0.02) >= POWER
    assert power(spread, design._replace(units=units * 3 // 5), 0.02) < POWER
    assert more_units(spread, design, 1e-6) is None
    assert more_units(spread, design, 1.0) == 12


def test_caveats_name_seeds_tiles_empty_cases_and_few_groups() -> None:
    row: dict[str, Any] = {"task": "lung", "seeds": 2, "groups": 3, "images": 12}
    row |= {"empty_kept": 0.5, "settings": '{"test": {"unit": "tiles"}}'}
    seeds, empty, tiles, groups = caveats([row])
    assert "12.7-fold" in seeds  # Student's t of one degree of freedom
    assert "no foreground" in empty
    assert "tiles" in tiles
    assert "lung (3 groups)" in groups
    assert caveats([{**row, "seeds": 9, "groups": 9, "empty_kept": None, "settings": "{}"}]) == []


def test_the_effects_of_a_crossed_study_are_on_the_page(ledger: Ledger, tmp_path: Path) -> None:
    for i, schedule in enumerate(("linear", "cosine")):
        for k, low in enumerate((0.0, 0.2)):
            mode = {"diffusion": {"schedule": {schedule: {}}, "t_low": low}}
            values = as_counts(OF_CASE + 0.1 * i + 0.001 * k)
            commit(
                ledger, f"{i}{k}".ljust(16, "0"), f"{schedule}_{low}", values, config={"mode": mode}
            )
    sections = {section.name: section for section in build_sections(catalog(ledger))}
    (table,) = (b for b in sections["effects"].all_blocks if isinstance(b, Table))
    rows = {(row["factor"], row["level"]): row for row in table.rows}
    assert rows["mode.schedule", "cosine"]["verdict"] == "baseline"
    assert rows["mode.schedule", "linear"]["verdict"] == "worse"
    assert rows["mode.schedule", "linear"]["p_holm"] < 0.05
    write_report(catalog(ledger), tmp_path / "page.html")
    assert "Effect of each setting" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_study_that_crosses_nothing_has_no_section_of_effects(ledger: Ledger) -> None:
    for arm in ("one", "two", "four"):
        model = "a" if arm == "one" else "b"
        config = {"mode": {arm: {"members": len(arm)}}, "model": {model: {}}}
        commit(ledger, f"{len(arm)}{arm}".ljust(16, "0"), arm, as_counts(OF_CASE), config=config)
    assert "effects" not in {section.name for section in build_sections(catalog(ledger))}
