"""A published study: the numbers of the store it came from, from a few files without secrets."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.tables.published import ROUNDED_BITS
from orchestrator.tables.published_store import open_ledger
from tests import cells
from tests.conftest import ROOT, Segprint

STORES = ROOT / "tests" / "golden" / "stores"
ROUNDING = 2.0 ** (ROUNDED_BITS - 53)
"""The largest relative change of a published sum: half of its last bit."""


@pytest.fixture
def published(tmp_path: Path, inline: Segprint, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of real trainings, published beside the store that it was trained in."""
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    with tarfile.open(STORES / "schema8" / "store.tar.xz") as tar:
        tar.extractall(tmp_path / "results", filter="data")
    done = inline("export", "kept", "--format", "published", "-o", "studies/kept")
    assert done.returncode == 0, done.stderr
    assert "segprint report studies/kept" in done.stdout
    return tmp_path / "studies" / "kept"


def rows(inline: Segprint, sql: str, *store: str) -> list[dict[str, Any]]:
    shown = inline(*store, "query", sql, "--json")
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def test_the_views_show_the_numbers_of_the_original_store(
    published: Path, inline: Segprint
) -> None:
    for sql in (  # a task is named with its data where another study has other data
        "SELECT * EXCLUDE (task, trained_on) FROM leaderboard WHERE study = 'kept' ORDER BY cell",
        "SELECT * EXCLUDE (attempt) FROM cases ORDER BY ALL",
        "SELECT * EXCLUDE (task) FROM information WHERE study = 'kept' ORDER BY ALL",
    ):
        before = rows(inline, sql)
        after = rows(inline, sql, "--store", "studies/kept")
        kept = {row["digest"] for row in after if "digest" in row}
        before = [row for row in before if not kept or row["digest"] in kept]
        assert len(after) == len(before) > 0
        for one, other in zip(after, before, strict=True):
            for name, value in other.items():
                same: Any = value
                if isinstance(value, float):
                    # Bits per image are differences of sums that are up to 1,000 times as large.
                    scale = 1000 if "FROM information" in sql else 1
                    same = pytest.approx(value, rel=ROUNDING, abs=scale * ROUNDING)
                assert one[name] == same, (sql, name)


@pytest.mark.parametrize(("bins", "code"), [(12, 0), (25, 2)])
def test_a_metric_of_finer_bins_than_the_published_ones_is_refused(
    published: Path, inline: Segprint, bins: int, code: int
) -> None:
    head = "from dataclasses import dataclass\nfrom trainables.metrics.ece import ECE\n\n"
    body = f"@dataclass(frozen=True)\nclass Mine{bins}(ECE):\n    bins: int = {bins}\n"
    Path(f"mine{bins}.py").write_text(head + body)
    sql = f"SELECT mine{bins} FROM leaderboard"
    done = inline("--store", str(published), "query", sql, "--metric", f"mine{bins}.py")
    assert done.returncode == code, done.stderr
    assert code == 0 or "has 25 bins, which must divide the 60 bins" in done.stderr


def test_the_report_opens_from_the_directory_alone(published: Path, inline: Segprint) -> None:
    done = inline("report", "studies/kept", "-o", "page.html")
    assert done.returncode == 0, done.stderr
    assert "kept" in Path("page.html").read_text(encoding="utf-8")


def test_nothing_is_published_that_names_a_machine_or_shows_a_pixel(published: Path) -> None:
    tables = {path.stem: pq.read_table(path) for path in published.glob("*.parquet")}
    assert not {"pictures", "logs"} & tables.keys()
    assert tables["trials"]["host"].null_count == tables["trials"].num_rows
    assert tables["trials"]["weights"].null_count == tables["trials"].num_rows
    texts = [*tables["trials"]["config"].to_pylist(), *tables["declarations"]["text"].to_pylist()]
    for text in texts:
        assert '"/' not in text
        assert '"~' not in text


def test_a_failed_trial_and_a_place_of_data_are_published_without_their_paths(
    ledger: Ledger, inline: Segprint, tmp_path: Path
) -> None:
    task = {"folder": {"at": "s3://hospital/ward", "values": {"0": "background"}}}
    config = {"task": task, "model": "/home/ann/net.py"}
    reason = "OSError: no /home/ann/scan.png"
    cells.commit(ledger, "1" * 16, "arm", [(1, 1, 1)], config=config)
    cells.commit(ledger, "2" * 16, "arm", [], seed=1, outcome="failed", reason=reason, host="ann")
    done = inline(
        "--store", ledger.store.url, "export", "study", "--format", "published", "-o", "p"
    )
    assert done.returncode == 0, done.stderr
    texts = str([pq.read_table(path).to_pylist() for path in Path("p").glob("*.parquet")])
    assert "failed" in texts
    assert "ward" in texts
    assert "hospital" not in texts
    assert "ann" not in texts
    shown = rows(inline, "SELECT digest FROM trials", "--store", "p")
    assert {row["digest"] for row in shown} == {"1" * 16, "2" * 16}


def test_no_result_is_added_to_a_published_study(published: Path, inline: Segprint) -> None:
    before = {path.name: path.read_bytes() for path in published.iterdir()}
    noted = inline("--store", "studies/kept", "note", "kept", "mine")
    assert noted.returncode == 2
    assert "a published study takes no results" in noted.stderr
    deleted = inline("--store", "studies/kept", "delete", "kept")
    assert deleted.returncode == 2
    assert "is a published study, of which nothing is deleted" in deleted.stderr
    predicted = inline("--store", "studies/kept", "predict", "kept", "nuclei", "-o", "out")
    assert predicted.returncode == 2
    assert "a published study has none" in predicted.stderr
    assert {path.name: path.read_bytes() for path in published.iterdir()} == before
    store = open_ledger(str(published)).store
    for write in (store.put, store.create, store.put_stream):
        with pytest.raises(ValueError, match="takes no results"):
            cast("Any", write)("commits/x.json", b"")
    again = inline("export", "kept", "--format", "published", "-o", "studies/kept")
    assert again.returncode == 2
    assert "into a new or empty directory" in again.stderr


def changed(folder: Path, **values: Any) -> None:
    path = folder / "published.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda f: (f / "cases.parquet").write_bytes(b"PAR1"), "cases.parquet is not the file"),
        (lambda f: (f / "trials.parquet").unlink(), "trials.parquet: a published file is missing"),
        (lambda f: (f / "published.json").write_text("[]"), "does not describe a published study"),
        (lambda f: changed(f, study="../other"), "does not describe a published study"),
        (lambda f: changed(f, format=9), "a newer Segprint wrote it (format 9, not 2)"),
        (lambda f: changed(f, files={"../../x": ""}), "names other files than"),
        (lambda f: changed(f, files=["x"]), "does not describe a published study"),
        (lambda f: changed(f, format=float("inf")), "does not describe a published study"),
        (lambda f: (f / "published.json").write_text("[" * 9**6), "does not describe a published"),
    ],
)
def test_damaged_and_hostile_files_are_named(
    published: Path, inline: Segprint, damage: Any, line: str
) -> None:
    damage(published)
    shown = inline("--store", "studies/kept", "query", "SELECT 1 FROM trials")
    assert shown.returncode != 0
    assert "Traceback" not in shown.stderr
    assert line in shown.stderr


def listed(folder: Path) -> None:
    """Write the present hashes of the files into the manifest, as an author could."""
    names = json.loads((folder / "published.json").read_text())["files"]
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    changed(folder, files=hashes)


def replaced(folder: Path, column: str, value: str) -> None:
    """Give the first trial another value of a column, in each table that has the column."""
    first = pq.read_table(folder / "trials.parquet")["digest"][0].as_py()
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path)
        if column in table.column_names:
            rows = table.to_pylist()
            for row in rows:
                row[column] = value if row["digest"] == first else row[column]
            pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def without(path: Path, column: str) -> None:
    pq.write_table(pq.read_table(path).drop_columns([column]), path)


def typed(path: Path, column: str, value: object) -> None:
    """Give a column one value, of another type than its own."""
    table = pq.read_table(path)
    at, values = table.schema.get_field_index(column), pa.array([value] * table.num_rows)
    pq.write_table(table.set_column(at, column, values), path)


def twice(path: Path, column: str) -> None:
    table = pq.read_table(path)
    pq.write_table(table.append_column(column, table[column]), path)


def doubled(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table]), path)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda f: replaced(f, "outcome", "x/../../../../outside"), "x/../../../../outside"),
        (lambda f: replaced(f, "outcome", "splendid"), "'splendid'"),
        (lambda f: replaced(f, "digest", "../../../../outside"), "'../../../../outside'"),
        (lambda f: doubled(f / "trials.parquet"), "trials.parquet: trial "),
        (lambda f: (f / "cases.parquet").write_bytes(b""), "cases.parquet is not readable"),
        (lambda f: without(f / "calibration.parquet", "p_code"), "is not readable: 'p_code'"),
        (lambda f: without(f / "trials.parquet", "outcome"), "trials.parquet is not readable"),
        (lambda f: without(f / "declarations.parquet", "key"), "declarations.parquet is not read"),
        (lambda f: typed(f / "declarations.parquet", "key", 1), "key must be a text in every row"),
        (lambda f: typed(f / "trials.parquet", "outcome", None), "outcome must be a text in every"),
        (
            lambda f: typed(f / "calibration.parquet", "p_code", {"x": 1}),
            "calibration.parquet is n",
        ),
        (
            lambda f: typed(f / "calibration.parquet", "p_code", "x"),
            "calibration.parquet is not re",
        ),
        (lambda f: twice(f / "cases.parquet", "case"), "cases: a column is there twice"),
    ],
)
def test_rows_that_are_of_no_trial_are_refused_and_nothing_is_written_elsewhere(
    published: Path, inline: Segprint, tmp_path: Path, damage: Any, line: str
) -> None:
    damage(published)
    listed(published)
    shown = inline("--store", "studies/kept", "query", "SELECT 1 FROM trials")
    assert shown.returncode != 0
    assert line in shown.stderr
    assert list(tmp_path.rglob("outside*")) == []


def test_a_declaration_under_a_foreign_key_is_refused(published: Path, inline: Segprint) -> None:
    path = published / "declarations.parquet"
    table = pq.read_table(path)
    keys = ["studies/kept/../../x/final-0000-0123456789abcdef.json", *table["key"].to_pylist()[1:]]
    pq.write_table(table.set_column(0, "key", [keys]), path)
    listed(published)
    shown = inline("--store", "studies/kept", "query", "SELECT 1 FROM trials")
    assert shown.returncode != 0
    assert "is not the key of a declared trial of this study" in shown.stderr
