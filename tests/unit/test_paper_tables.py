"""Tables for a paper: marks, order, columns and layouts of studies with known numbers."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.analyses import catalog
from orchestrator.heldout.paired import advantage
from orchestrator.ledger.ledger import Ledger
from orchestrator.report import TableLayout, read_layout
from orchestrator.report.cell_names import CellNames
from orchestrator.report.paper_tables import paper_tables
from orchestrator.report.printed_table import PrintedTable
from orchestrator.report.table_layout import parse_layout
from tests.cells import as_counts, commit
from tests.conftest import Segprint

CASES = 12
OF_CASE = np.random.default_rng(1).uniform(0.6, 0.7, CASES)
GAIN = {"linear": 0.0, "cosine": 0.1, "laplace": 0.1}
RANGE = {0.0: 0.0, 0.2: -0.05}


def dice(schedule: str, low: float) -> Any:
    """Cosine and laplace differ from each other by noise alone."""
    noise = np.random.default_rng([list(GAIN).index(schedule), int(10 * low)]).normal(size=CASES)
    return (OF_CASE + GAIN[schedule] + RANGE[low] + 0.005 * noise).round(5)


def train_grid(ledger: Ledger, task: str = "task", baseline: str | None = "linear") -> None:
    for i, schedule in enumerate(GAIN):
        for k, low in enumerate(RANGE):
            mode = {"diffusion": {"schedule": {schedule: {}}, "t_low": low}}
            commit(
                ledger,
                f"{task[0]}{i}{k}".ljust(16, "0").replace("t", "a"),
                f"{schedule}_{low}",
                as_counts(dice(schedule, low)),
                task=task,
                config={"mode": mode},
            )
    if baseline:
        ledger.studies.describe(
            "study", {"question": "", "arms": [], "revision": "r1", "baseline": f"{baseline}_0.0"}
        )


def printed(ledger: Ledger, layout: TableLayout | None = None) -> dict[str, PrintedTable]:
    tables = catalog(ledger)
    return {table.name: table for table in paper_tables(tables, CellNames(tables), layout)}


def records(table: PrintedTable) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def test_a_study_of_two_factors_has_the_table_of_an_ablation(ledger: Ledger) -> None:
    train_grid(ledger)
    grid = printed(ledger)["table-study-grid"]
    assert list(grid.header) == ["Schedule", "T low 0.0", "T low 0.2"]
    rows = {row["Schedule"]: row for row in records(grid)}
    for schedule in GAIN:
        for low in RANGE:
            mean = float(rows[schedule][f"{low}: dice"])
            assert mean == pytest.approx(dice(schedule, low).mean(), abs=1e-4)


def test_the_best_is_bold_and_ties_are_those_of_the_view(ledger: Ledger) -> None:
    """The mark agrees with the paired comparison of ``ablation``, whose p is adjusted."""
    train_grid(ledger)
    table = printed(ledger)["table-study"]
    by_mark: dict[str, set[str]] = {"best": set(), "tie": set(), "": set()}
    for row in records(table):
        by_mark[row["dice_mark"]].add(row["Arm"])
    best = max(((s, low) for s in GAIN for low in RANGE), key=lambda cell: dice(*cell).mean())
    assert by_mark["best"] == {"{} {}".format(*best)}
    pairs = [r for r in catalog(ledger)["ablation"].to_pylist() if r["metric"] == "dice"]
    name = "task_{}_{}".format(*best)
    ties = {
        ({row["cell"], row["against"]} - {name}).pop().removeprefix("task_").replace("_", " ")
        for row in pairs
        if name in (row["cell"], row["against"]) and not advantage(row)
    }
    assert by_mark["tie"] == ties
    assert ties
    assert by_mark[""] >= {"linear 0.0", "linear 0.2"}
    (bold,) = re.findall(r"\*\*([\d.]+)\*\*", table.markdown())
    assert table.markdown().splitlines()[-1].count("†") == 1  # the notes explain it
    assert rf"\textbf{{{bold}}}" in table.latex()
    assert table.latex().count(r"$^{\dagger}$") == len(ties)


def test_the_baseline_comes_first_and_eight_columns_suffice(ledger: Ledger) -> None:
    train_grid(ledger, "lung", "cosine")
    train_grid(ledger, "heart", "cosine")
    table = printed(ledger)["table-study"]
    rows = records(table)
    assert len(table.header) <= 8
    for task in ("lung", "heart"):
        first = next(row for row in rows if row["Task"] == task)
        assert first["Arm"] == "cosine 0.0"


def test_a_file_chooses_columns_order_decimals_and_names(ledger: Ledger, tmp_path: Path) -> None:
    train_grid(ledger)
    file = tmp_path / "table.toml"
    file.write_text(
        'columns = ["iou", "dice"]\nrows = "mode.schedule"\nacross = "mode.t_low"\n'
        'order = ["laplace"]\nomit = ["linear"]\nintervals = false\n'
        'decimals = { dice = 1, "*" = 4 }\n[names]\nlaplace = "Laplace & co"\ndice = "DSC"\n'
    )
    table = printed(ledger, read_layout(file))["table-study"]
    assert list(table.header) == [
        *("Schedule", "T low 0.0: IoU ↑", "T low 0.0: DSC"),
        *("T low 0.2: IoU ↑", "T low 0.2: DSC"),
    ]
    assert [row["Schedule"] for row in records(table)] == ["Laplace & co", "cosine"]
    body = [line for line in table.markdown().splitlines() if line.startswith("| Laplace")]
    numbers = [re.sub(r"[*†]", "", cell).strip() for cell in body[0].split("|")[2:-1]]
    assert [len(number.partition(".")[2]) for number in numbers] == [4, 1, 4, 1]
    assert r"Laplace \& co" in table.latex()


def test_latex_and_markdown_have_as_many_cells_as_columns(ledger: Ledger) -> None:
    train_grid(ledger, "lung")
    train_grid(ledger, "heart")
    for table in printed(ledger).values():
        lines = [line for line in table.latex().splitlines() if line.endswith(r" \\")]
        counts = {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines}
        assert counts == {len(table.header)}
        marked = [line for line in table.markdown().splitlines() if line.startswith("|")]
        assert {line.count("|") - 1 for line in marked} == {len(table.header)}


def test_a_baseline_of_its_own_leaves_the_crossing_its_table(ledger: Ledger) -> None:
    train_grid(ledger, baseline=None)
    twin = {"mode": {"feedforward": {}}}
    commit(ledger, "e" * 16, "twin", as_counts(OF_CASE), config=twin)
    assert set(printed(ledger)) == {"table-study"}, "which arm is none of the crossing is not said"
    text = {"question": "", "arms": [], "revision": "r1", "baseline": "twin"}
    ledger.studies.describe("study", text)
    grid = printed(ledger)["table-study-grid"]
    assert {row["Schedule"] for row in records(grid)} == set(GAIN)
    assert records(printed(ledger)["table-study"])[0]["Arm"] == "twin"


def test_a_grid_that_lacks_a_cell_has_no_table_of_its_own(ledger: Ledger) -> None:
    train_grid(ledger)
    mode = {"diffusion": {"schedule": {"sigmoid": {}}, "t_low": 0.0}}
    commit(ledger, "f" * 16, "sigmoid_0.0", as_counts(OF_CASE), config={"mode": mode})
    assert set(printed(ledger)) == {"table-study"}


def test_metrics_outside_the_view_are_marked_by_the_same_rule(ledger: Ledger) -> None:
    train_grid(ledger)
    rows = records(printed(ledger, TableLayout(columns=("dice", "dice_foreground")))["table-study"])
    assert [row["dice_mark"] for row in rows] == [row["dice_foreground_mark"] for row in rows]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns = [", "is not a TOML file"),
        ('colums = ["dice"]', "t.toml 'colums'"),
        ('columns = "dice"', "must be a list of texts"),
        ('columns = ["dice", "dice"]', "must name each only once"),
        ("intervals = 1", "must be true or false"),
        ("decimals = 10", "must be a whole number from 0 to 9"),
        ("decimals = { dice = true }", "must be a whole number from 0 to 9"),
        ("names = { a = 1 }", "must be a table of texts"),
        ('across = "arm"', "is the same as rows"),
        ('columns = ["dise"]', "column of the table 'dise'"),
        ("decimals = { dise = 1 }", "column of the table's decimals 'dise'"),
        ('rows = "mode.shedule"', "'mode.shedule'"),
        ('rows = "mode.schedule"', "in one place"),
        ('order = ["absent"]', "row of the table 'absent'"),
    ],
)
def test_a_bad_file_has_one_clear_line(
    text: str, message: str, ledger: Ledger, inline: Segprint, tmp_path: Path
) -> None:
    train_grid(ledger)
    file = tmp_path / "t.toml"
    file.write_text(text)
    place = ("-o", str(tmp_path / "page.html"), "--figures", str(tmp_path / "figures"))
    done = inline("--store", ledger.store.url, "report", *place, "--table", str(file))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


def test_a_layout_needs_a_folder_and_a_file(
    ledger: Ledger, inline: Segprint, tmp_path: Path
) -> None:
    done = inline("--store", ledger.store.url, "report", "--table", "t.toml")
    assert (done.returncode, "needs --figures" in done.stderr) == (2, True)
    place = ("-o", str(tmp_path / "page.html"), "--figures", str(tmp_path / "f"))
    done = inline("--store", ledger.store.url, "report", *place, "--table", "absent.toml")
    assert (done.returncode, "absent.toml" in done.stderr) == (2, True)


def test_names_are_text_in_every_format() -> None:
    layout = parse_layout({"names": {"a": "x | y_1 \x1b"}}, "t.toml")
    name = layout.name("a")
    table = PrintedTable("t", 1, ["Arm"], [], [[name]], "")
    assert "x \\| y_1 \\x1b" in table.markdown()
    assert r"x | y\_1 \textbackslash{}x1b" in table.latex()
