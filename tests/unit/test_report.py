"""The report's parts: what is written out, and what it says of a ledger with known answers."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.analyses import catalog
from orchestrator.ledger.declared import Declaration, Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.report import build_sections, rendering, vega, write_report
from orchestrator.report.blocks import Chart, Column, Note, Section, Table
from orchestrator.report.cell_names import CellNames
from orchestrator.report.figure_files import write_figures
from orchestrator.report.formats import decimals, latex, p_value, signed
from orchestrator.report.sections import searched
from orchestrator.report.sections.comparisons import of_interest
from orchestrator.views.catalog import Catalog
from tests.cells import binned, commit
from tests.conftest import Segprint
from tests.unit.test_tables import commit_final
from trainables.schemas import Outcome


@pytest.fixture
def tables(ledger: Ledger) -> Catalog:
    """A network that beats the grey level on every case."""
    commit_final(ledger, "0" * 16, "base", [(1, 1, 1)] * 4)
    commit_final(ledger, "1" * 16, "net", [(4, 0, 0), (3, 1, 1), (2, 1, 1), (1, 0, 2)])
    return catalog(ledger)


def test_what_was_not_measured_is_a_dash_and_never_a_zero() -> None:
    column = Column("dice", "Dice", decimals(3), interval=True)
    assert column.cell({"dice": None}) == "–"
    assert column.cell({"dice": float("nan")}) == "–"
    assert column.cell({"dice": 0.5}) == "0.500"
    ends = {"dice_low": 0.25, "dice_high": 0.75}
    assert column.cell({"dice": 0.5, **ends}) == "0.500 [0.250, 0.750]"
    assert (p_value(0.0004), p_value(0.04), p_value(None)) == ("< 0.001", "0.040", "–")


def test_every_number_of_the_leaderboard_is_in_its_chart(tables: Catalog) -> None:
    board = {row["arm"]: row for row in tables["leaderboard"].to_pylist()}
    blocks = build_sections(tables)[0].all_blocks
    (chart,) = (b for b in blocks if isinstance(b, Chart) and b.name.endswith("dice"))
    drawn = {row["name"]: (row["value"], row["low"], row["high"]) for row in chart.rows}
    assert drawn == {
        arm: (row["dice"], row["dice_low"], row["dice_high"]) for arm, row in board.items()
    }
    written = list(csv.DictReader(io.StringIO(chart.csv())))
    assert {row["name"]: float(row["value"]) for row in written} == {
        arm: row["dice"] for arm, row in board.items()
    }


def test_the_command_below_a_figure_gives_its_numbers(tables: Catalog) -> None:
    for section in build_sections(tables):
        for block in section.all_blocks:
            source = getattr(block, "source", "")
            if source.startswith("segprint query"):
                tables.sql(source.partition('"')[2].rpartition('"')[0])


def test_the_same_rows_are_drawn_as_the_same_bytes(tables: Catalog) -> None:
    blocks = build_sections(tables)[0].all_blocks
    (chart,) = (b for b in blocks if isinstance(b, Chart) and b.name.endswith("dice"))
    assert chart.svg() == chart.svg()
    assert rendering.pdf(chart.full).startswith(b"%PDF-")
    assert rendering.png(chart.full).startswith(b"\x89PNG")


def test_every_chart_and_table_becomes_files_for_a_paper(tables: Catalog, tmp_path: Path) -> None:
    written = write_report(tables, tmp_path / "page.html", tmp_path / "figures")
    names = {path.name for path in written}
    assert len(names) == len(written)  # none is written over
    assert {"leaderboard.tex", "leaderboard.csv", "leaderboard-task-dice.svg"} <= names
    assert {"fingerprints.png", "fingerprint-loss.pdf", "information.tex"} <= names
    assert {p.name for p in (tmp_path / "figures").iterdir()} == names - {"page.html"}
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_one_network_is_the_first_of_its_views_and_of_its_deep_ensembles(ledger: Ledger) -> None:
    arms: dict[str, dict[str, Any]] = {
        "one": {"feedforward": {"members": 1}},
        "views": {"feedforward": {"members": 4}},
        "two": {"deep_ensemble": {"networks": 2, "members": 1}},
        "four": {"deep_ensemble": {"networks": 4, "members": 1}},
        "alone": {"deep_ensemble": {"networks": 3, "members": 1, "dice_weight": 0.5}},
    }
    for i, (arm, mode) in enumerate(arms.items()):
        test = {"controls": ["temperature"] if i else []}
        pixels = {f"c{k}": [(0.7, 100, 50 + i)] for k in range(3)}
        about = {"config": {"mode": mode, "test": test}, "mode": next(iter(mode))}
        commit(ledger, f"{i:016x}", arm, [(1, 0, 0)] * 3, pixels, **about)
    section = next(s for s in build_sections(catalog(ledger)) if s.name == "reliability")
    charts = [b for b in section.all_blocks if isinstance(b, Chart)]
    (chart,) = (chart for chart in charts if chart.name == "members-task-ece")
    assert {(r["series"], r["at"], round(r["value"], 3)) for r in chart.rows} == {
        *(("feedforward", n, v) for n, v in ((1, 0.2), (4, 0.19))),
        *(("deep ensemble", n, v) for n, v in ((1, 0.2), (2, 0.18), (4, 0.17))),
    }


def test_ensembles_of_two_models_are_two_lines(ledger: Ledger) -> None:
    for i, (model, members) in enumerate(itertools.product("ab", (1, 4))):
        mode = {"feedforward": {"members": members}}
        about = {"config": {"mode": mode, "model": {model: {}}}, "mode": "feedforward"}
        pixels = {f"c{k}": [(0.7, 100, 50 + i)] for k in range(3)}
        commit(
            ledger, f"{i:016x}", f"{model}{members}", [(1, 0, 0)] * 3, pixels, **about, model=model
        )
    section = next(s for s in build_sections(catalog(ledger)) if s.name == "reliability")
    charts = [b for b in section.all_blocks if isinstance(b, Chart)]
    (chart,) = (chart for chart in charts if chart.name == "members-task-ece")
    lines = [(r["series"], r["at"]) for r in chart.rows]
    assert lines == [(f"{m} feedforward", n) for m, n in itertools.product("ab", (1, 4))]


def test_calibration_at_the_boundary_stands_beside_that_of_all_pixels(ledger: Ledger) -> None:
    cases = [f"c{i}" for i in range(3)]
    near = [{"case": c, "reading": "boundary", **binned(0.7, 100, 30)} for c in cases]
    pixels = {c: [(0.7, 1000, 650)] for c in cases}
    config = {"mode": {"diffusion": {}}}
    more = {"calibration": near}
    commit(ledger, "1" * 16, "net", [(1, 0, 0)] * 3, pixels, config=config, more=more)
    commit(ledger, "2" * 16, "older", [(1, 0, 0)] * 3, pixels, config=config)
    tables = catalog(ledger)
    sections = {s.name: s for s in build_sections(tables)}
    (table,) = (b for b in sections["reliability"].all_blocks if isinstance(b, Table))
    (row,) = table.rows
    assert (row["series"], row["images"], row["seeds"]) == ("net", 3, 1)
    assert (row["ece"], row["boundary"]) == (pytest.approx(0.05), pytest.approx(0.4))
    assert "readings" not in sections  # it is no other output
    regions = {r["region"]: r for r in tables["reliability"].to_pylist() if r["arm"] == "net"}
    assert regions["image"]["accuracy"] == pytest.approx(0.65)
    assert regions["boundary"]["accuracy"] == pytest.approx(0.3)


def test_latex_keeps_what_names_hold() -> None:
    assert latex("a_b & 95 % {x}\\y") == r"a\_b \& 95 \% \{x\}\textbackslash{}y"


def test_a_latex_row_has_as_many_cells_as_there_are_columns() -> None:
    columns = [Column("name", "Name & more"), Column("value", "Value", decimals(1))]
    rows = [{"name": "a & b \\\\ c", "value": 1.0}, {"name": "d", "value": None}]
    lines = Table("t", columns, rows, "").latex().splitlines()
    body = [line for line in lines if line.endswith(r" \\")]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in body] == [1, 1, 1]
    assert all(line.count(r"\\") == 1 for line in body)


def test_hidden_series_leave_every_layer() -> None:
    """The filter is on the whole chart: no layer may bring rows of its own past it."""
    spec = vega.curves(
        vega.styles(["a", "b"]), vega.quantitative("x"), vega.quantitative("y"), kinds=["k"]
    )
    assert spec["transform"] == [{"filter": "indexof(hidden, datum.series) < 0"}]
    assert all("data" not in layer for layer in spec["layer"])


def test_series_are_called_the_same_on_every_task(ledger: Ledger) -> None:
    """Two models of one arm on two tasks are two series and not four."""
    for i, (task, model) in enumerate(itertools.product(("lung", "heart"), ("a", "b"))):
        about = {"cell": f"{task}_{model}_net", "task": task, "model": model}
        commit(ledger, f"{i}" * 16, "net", [(4, 1, 1), (3, 1, 1)], **about)
    board = build_sections(catalog(ledger))[0]
    assert board.series == ["a net", "b net"]


@pytest.mark.parametrize("arm", ["constructor", "toString", "valueOf"])
def test_an_arm_called_like_a_property_of_objects_is_drawn(ledger: Ledger, arm: str) -> None:
    commit_final(ledger, "0" * 16, arm, [(4, 1, 1), (3, 1, 1)])
    commit_final(ledger, "1" * 16, "net", [(4, 0, 0), (3, 1, 1)])
    made = build_sections(catalog(ledger))
    charts = [b for part in made for b in part.all_blocks if isinstance(b, Chart) and b.rows]
    assert any(f"task {arm}" in rendering.svg(chart.full) for chart in charts)


def test_the_pages_drawings_say_nothing_twice_and_move_no_mark(tables: Catalog) -> None:
    """Each chart's box tells its title and numbers; places are right to half a hundredth."""
    chart = next(b for b in build_sections(tables)[0].all_blocks if isinstance(b, Chart))
    whole, small = chart.svg(), rendering.compact(chart.svg())
    assert "aria-label=" in whole
    assert "aria-label=" not in small
    words = [re.findall(r">([^<>]+)<", text) for text in (whole, small)]
    assert words[0] == words[1]
    places = [re.findall(r"translate\(([-\d.]+),([-\d.]+)\)", text) for text in (whole, small)]
    assert np.abs(np.array(places[0], float) - np.array(places[1], float)).max() <= 0.005 + 1e-9


def test_a_square_of_many_arms_has_curves_and_no_bands() -> None:
    for count, areas in ((vega.MAX_BANDS, 1), (vega.MAX_BANDS + 1, 0)):
        layers = vega.reliability(vega.styles([f"arm{i}" for i in range(count)]))["layer"]
        assert sum(layer["mark"]["type"] == "area" for layer in layers) == areas
        assert sum(layer["mark"]["type"] == "line" for layer in layers) == 2


def test_a_zero_on_a_logarithmic_axis_is_drawn(tmp_path: Path) -> None:
    rows = [
        {"series": "a", "line": "k", "at": i, "value": v, "low": v, "high": v}
        for i, v in enumerate((0.0, 1e-9, 0.5))
    ]
    up = vega.logarithmic("y", [row["value"] for row in rows])
    spec = vega.curves(vega.styles(["a"]), vega.quantitative("x"), up, kinds=["k"])
    chart = Chart("c", "c", "", "", "", spec, rows)
    assert "NaN" not in chart.svg()
    assert up["scale"]["domain"][0] > 0


def test_a_place_that_is_not_there_is_refused(ledger: Ledger, inline: Segprint) -> None:
    commit_final(ledger, "1" * 16, "net", [(1, 1, 1)])
    store = ledger.store.url
    done = inline("--store", store, "report", "-o", "nowhere/report.html")
    assert (done.returncode, "nowhere" in done.stderr) == (2, True)
    done = inline("--store", store, "report", "--watch", "1")
    assert (done.returncode, "--watch=1.0 must be between 5 and 86400" in done.stderr) == (2, True)
    done = inline("--store", store, "report", "--watch", "inf")
    assert (done.returncode, "--watch=inf must be between" in done.stderr) == (2, True)


def test_watching_ends_when_no_trial_is_missing_and_the_page_reloads_itself_all_the_same(
    ledger: Ledger, tmp_path: Path, inline: Segprint
) -> None:
    commit_final(ledger, "0" * 16, "base", [(1, 1, 1)] * 2)
    for watch, reloads in ((["--watch", "7"], True), ([], False)):
        done = inline("--store", ledger.store.url, "report", "study", *watch)
        assert done.returncode == 0, done.stderr
        page = (tmp_path / "report.html").read_text()
        assert ('<meta http-equiv="refresh" content="7">' in page) is reloads


def test_a_small_number_is_not_shown_as_zero_and_zero_has_no_sign() -> None:
    shown = [decimals(3)(number) for number in (0.00036, -0.00004, -1e-9, 0.0)]
    assert shown == ["0.0004", "−0.00004", "0.000", "0.000"]
    assert [signed(n) for n in (0.00036, -1e-9, -0.1)] == ["+0.0004", "+0.000", "−0.100"]


def test_the_page_names_the_searched_values_of_the_final_trials(ledger: Ledger) -> None:
    """A trial that diverged has the highest validation score, and was not chosen."""
    outcomes: list[tuple[float, float, Outcome]] = [
        (0.001, 0.8, "finished"),
        (0.01, 0.83, "pruned"),
        (0.1, 0.9, "diverged"),
    ]
    ledger.studies.describe("study", {"question": "", "arms": ["net"], "revision": "r1"})

    def declared(stage: str, index: int, rate: float) -> str:
        digest = hashlib.sha256(f"{stage} {index}".encode()).hexdigest()[:16]
        slot = Declared("study", "r1", "task_net", stage, index, digest)
        about: Declaration = {"arm": "net", "config": {}, "values": {"train.learning_rate": rate}}
        ledger.studies.declare(slot, about)
        return digest

    for index, (rate, score, outcome) in enumerate(outcomes):
        row = {"outcome": outcome, "score": score, "task": "task"}
        ledger.commit(declared("search", index, rate), outcome, {"trials": [row]})
    declared("final", 0, 0.001)
    tables = catalog(ledger)
    found = searched.section(tables, CellNames(tables))
    assert found is not None
    _, listed, *_ = found.blocks
    assert isinstance(listed, Note)
    chosen = "task net: learning_rate 0.001 (validation Dice 0.800, one of 3 trials)."
    assert listed.lines == [chosen]


def test_names_that_differ_in_what_no_file_may_have_are_two_files(tmp_path: Path) -> None:
    columns = (Column("dice", "Dice", decimals(3)),)
    values = {"a+": 0.1, "a/": 0.2}
    tables = [Table(name, columns, [{"dice": dice}], "") for name, dice in values.items()]
    written = write_figures([Section("s", "S", tables)], [], tmp_path)
    assert len(written) == len(set(written)) == 4
    numbers = [path.read_text().split()[-1] for path in written if path.suffix == ".csv"]
    assert sorted(numbers) == ["0.1", "0.2"]


def test_the_baseline_of_one_study_does_not_hide_the_pairs_of_another(tables: Catalog) -> None:
    pair = {"cell": "task_net", "against": "task_base", "baseline": True}
    pairs = [{**pair, "study": "study"}, {**pair, "study": "other", "baseline": False}]
    assert of_interest(CellNames(tables), pairs) == pairs
