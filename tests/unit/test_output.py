"""What leaves the program: every format keeps every column, and shows nothing that acts."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from orchestrator.analyses import catalog
from orchestrator.arguments import TABLE_FORMATS
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction
from orchestrator.views.table_formats import FORMATS
from tests.cells import commit
from tests.conftest import ROOT, SMALL, Segprint
from tests.server import BUCKET

TASKS = [
    *(None, "plain", "a/b=c", "100 %", "it's", "..", "0042", "42", "4.2", "true", "2020-01-01"),
    *("__HIVE_DEFAULT_PARTITION__", "NULL", "nan", "", " x ", ".hidden", "_x", "(none)", "a%2Fb"),
]
HOSTILE = "na\x1b[31mme\u202e\n=1"


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = str(tmp_path / "store")
    commit(Ledger(Store(url)), "a" * 16, "arm", [(3, 1, 1), (2, 0, 1)], steps=5)
    return url


def test_two_columns_of_one_name_are_both_kept(url: str, inline: Segprint, tmp_path: Path) -> None:
    sql = "SELECT 1 AS x, 2 AS x, 3 AS X, 4 AS x_1"
    for form in ("json", "csv", "md", "table"):
        stdout = inline("--store", url, "query", sql, "--format", form).stdout
        numbers = re.findall(r"(?<![\w])[1234](?![\w])", stdout)
        assert numbers == ["1", "2", "3", "4"], form
    assert json.loads(inline("--store", url, "query", sql, "--json").stdout) == [
        {"x": 1, "x_2": 2, "X_3": 3, "x_1": 4}
    ]
    inline("--store", url, "query", sql, "-o", "x.parquet")
    read = duckdb.read_parquet(str(tmp_path / "x.parquet"))
    assert (read.columns, read.fetchall()) == (["x", "x_2", "X_3", "x_1"], [(1, 2, 3, 4)])
    joined = "SELECT * FROM cases a JOIN cases b ON a.case != b.case ORDER BY a.case"
    (first, _) = json.loads(inline("--store", url, "query", joined, "--json").stdout)
    assert (first["case"], first["case_1"]) == ("c0", "c1")


def test_brackets_intervals_and_nested_columns_reach_every_format(
    url: str, inline: Segprint, tmp_path: Path
) -> None:
    sql = (
        "SELECT regexp_replace(task, '[/].*', ''), INTERVAL 90 SECOND AS took, [1, 2] AS l,"
        " {'a': 'b'} AS s, 'x'::BLOB AS b, 'infinity'::DATE AS d, 1e37::HUGEINT / 2 AS h,"
        " sum(9223372036854775807) OVER () + 9223372036854775807 AS big, 0.5 AS half,"
        " 'nan'::DOUBLE AS n FROM trials"
    )
    printed = inline("--store", url, "query", sql)
    assert printed.returncode == 0, printed.stderr
    assert "'[/].*'" in printed.stdout
    (row,) = json.loads(inline("--store", url, "query", sql, "--json").stdout)
    assert (row["took"], row["l"], row["s"]) == ("00:01:30", [1, 2], {"a": "b"})
    assert (row["b"], row["d"], row["half"], row["n"]) == ("<1 bytes>", "infinity", 0.5, None)
    assert row["big"] == 2 * (2**63 - 1)
    assert inline("--store", url, "query", sql, "-o", "x.csv").returncode == 0
    frame = pd.read_csv(tmp_path / "x.csv")
    assert pd.to_timedelta(frame["took"][0]) == timedelta(seconds=90)
    assert frame["d"][0] == float("inf")  # the word, which pandas reads as a number
    assert (json.loads(frame["l"][0]), json.loads(frame["s"][0])) == ([1, 2], {"a": "b"})
    for name in ("x.parquet", "x.md"):
        written = inline("--store", url, "query", sql, "-o", name)
        assert written.returncode == 0, written.stderr
    assert pq.read_table(tmp_path / "x.parquet")["b"].to_pylist() == [b"x"]
    for view in ("steps", "pictures", "trials"):
        for form in ("csv", "json", "md", "table"):
            said = inline("--store", url, "query", f"SELECT * FROM {view}", "--format", form)
            assert said.returncode == 0, said.stderr


def test_tables_are_listed_and_described_as_people_type_it(url: str, inline: Segprint) -> None:
    for sql in ("SHOW TABLES", "show tables;", ".tables", "SHOW ALL TABLES ;"):
        rows = json.loads(inline("--store", url, "query", sql, "--json").stdout)
        assert [r["name"] for r in rows] == catalog(Ledger(Store(url))).names()
    for sql in ("DESCRIBE cases", "describe cases;", "SHOW cases", ".schema cases", "DESC cases"):
        rows = json.loads(inline("--store", url, "query", sql, "--json").stdout)
        assert {"digest", "tp", "case"} <= {r["column_name"] for r in rows}, sql
    (row,) = json.loads(
        inline(
            *("--store", url, "query", "--json"),
            "SELECT max FROM (SUMMARIZE cases) WHERE column_name = 'tp'",
        ).stdout
    )
    assert row["max"] == "3"


@pytest.mark.parametrize("compacted", [False, True])
def test_an_exported_tree_reads_back_the_same(
    tmp_path: Path, inline: Segprint, compacted: bool
) -> None:
    ledger = Ledger(Store(str(tmp_path / "store")))
    for i, task in enumerate(TASKS):
        trial = {"outcome": "finished", "task": task, "model": "m"}
        cases = [{"case": f"c{j}", "tp": i} for j in range(i + 1)]
        ledger.commit(f"{i:016x}", "finished", {"trials": [trial], "cases": cases})
    if compacted:
        compaction.compact_committed(ledger.store)
    assert inline("--store", ledger.store.url, "export", "-o", "tree").returncode == 0
    tables, tree = catalog(ledger), tmp_path / "tree"
    assert sorted(p.name for p in tree.iterdir()) == sorted([*tables.names(), "manifest.json"])
    for name in tables.names():
        stored = tables[name]
        read = pq.read_table(tree / name)
        assert read.schema.equals(stored.schema)
        with_pandas = pd.read_parquet(tree / name, dtype_backend="pyarrow")
        assert list(with_pandas.columns) == stored.column_names
        with_polars = pl.read_parquet(tree / name)
        with_duckdb = duckdb.read_parquet(f"{tree / name}/*.parquet")
        assert with_polars.columns == with_duckdb.columns == stored.column_names
        if stored.num_columns and "task" in stored.column_names:
            expected = sorted(map(str, stored["task"].to_pylist()))
            for tasks in (
                [None if pd.isna(t) else t for t in with_pandas["task"]],
                with_polars["task"].to_list(),
                [t for (t,) in with_duckdb.select("task").fetchall()],
            ):
                assert sorted(map(str, tasks)) == expected
    # Spark takes KEY=VALUE in a path for a partition, skips _ and ., and has no nanoseconds.
    for path in tree.rglob("*.parquet"):
        assert not [p for p in path.relative_to(tree).parts if "=" in p or p[0] in "_."]
        kinds = [str(f.type) for f in pq.read_schema(path)]
        assert not [k for k in kinds if k.startswith(("time64", "duration", "uint")) or "ns" in k]


@pytest.mark.slow
def test_a_killed_export_leaves_nothing_that_reads_as_whole(url: str, tmp_path: Path) -> None:
    """It is killed at its fifth file."""
    code = (
        "import os, signal, sys; from orchestrator.storage.object_store import Store\n"
        "put, seen = Store.put, []\n"
        "def killed(*a):\n put(*a); seen.append(a)\n"
        " if len(seen) == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Store.put = killed\nfrom orchestrator.cli import main\nmain(sys.argv[1:])\n"
    )
    words = ["--store", url, "export", "-o", str(tmp_path / "tree")]
    run = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL
    assert not (tmp_path / "tree").exists()
    run = subprocess.run([sys.executable, "-m", "orchestrator.cli", *words], cwd=ROOT, check=False)
    assert run.returncode == 0
    assert (tmp_path / "tree" / "manifest.json").is_file()


def test_what_a_name_holds_does_not_act_where_it_is_shown(tmp_path: Path, inline: Segprint) -> None:
    url = str(tmp_path / "store")
    ledger = Ledger(Store(url))
    for arm in (HOSTILE, "other"):
        digest = ("a" if arm == HOSTILE else "b") * 16
        commit(ledger, digest, arm, [(3, 1, 1), (2, 0, 1)], task=HOSTILE, cell=f"c {arm}")
    for words in (
        *(["trials"], ["query", "SELECT * FROM studies"], ["ls", "studies"], ["compare", *"xy"]),
        *(["query", "SELECT * FROM studies", "--format", "md"], ["status", "study"]),
        ["query", "SELECT * FROM studies", "--json"],
    ):
        said = inline("--store", url, *words)
        assert not re.search(r"[\x00\x1b\u202e]", said.stdout + said.stderr), words
    made = inline("--store", url, "report", "study", "-o", "r.html", "--figures", "f")
    assert made.returncode == 0, made.stderr
    for path in [tmp_path / "r.html", *(tmp_path / "f").glob("*.[ts][ev][xg]")]:
        assert not re.search(r"[\x00\x1b\u202e]", path.read_text()), path


def test_a_cell_of_csv_is_no_formula_and_numbers_stay(url: str, inline: Segprint) -> None:
    sql = "SELECT '=1+1' AS a, -1 AS b, '-0.5' AS c, '@x' AS d, '+ y' AS e, 'a=b' AS f"
    said = inline("--store", url, "query", sql, "--format", "csv").stdout
    values = pd.read_csv(io.StringIO(said), dtype=str).iloc[0].tolist()
    assert values == ["'=1+1", "-1", "-0.5", "'@x", "'+ y", "a=b"]


def test_json_and_another_format_are_refused(url: str, inline: Segprint) -> None:
    said = inline("--store", url, "query", "SELECT 1", "--json", "--format", "csv")
    assert (said.returncode, said.stdout) == (2, "")
    assert "--json and --format csv" in said.stderr


def strict(text: str) -> Any:
    def refuse(name: str) -> Any:
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


def test_json_is_all_that_is_on_stdout(url: str, tmp_path: Path, inline: Segprint) -> None:
    (tmp_path / "tiny.py").write_text(f"from search_spaces import *\nSPACE = Space('?', {SMALL!r})")
    verbs = [
        *(["ls"], ["ls", "studies"], ["ls", "views"], ["show", "quickstart"], ["show", "a" * 16]),
        *(["plan", "./tiny.py"], ["status", "study"], ["trials"], ["query", "SELECT 'inf'::REAL"]),
        *(["compare", "study", "study"], ["fingerprint"], ["note", "study", "x"], ["data", "ls"]),
        *(["tables", "compact"], ["tables", "check"], ["tables", "versions"]),
        *(["tables", "gc", "--dry-run"], ["tables", "rebuild"], ["note", "study", "--delete"]),
    ]
    for words in verbs:
        said = inline("--store", url, *words, "--json")
        assert said.returncode in (0, 1), (words, said.stderr)
        strict(said.stdout)
    failed = inline("--store", url, "query", "SELECT nothing", "--json")
    assert (failed.returncode, failed.stdout) == (2, "")


@pytest.mark.parametrize("name", ["a*b", "a?b", "a[1]b", "task=x", "a@b", "a b"])
def test_a_store_may_have_any_path(tmp_path: Path, inline: Segprint, name: str) -> None:
    url = str(tmp_path / name / "store")
    commit(Ledger(Store(url)), "a" * 16, "arm", [(3, 1, 1)])
    _walk(inline, url, tmp_path)


@pytest.mark.parametrize("url", ["a%20b", "s3://bucket/a%2Fb", "a\nb"])
def test_a_store_path_that_deltalake_misreads_is_refused(inline: Segprint, url: str) -> None:
    said = inline("--store", url, "ls", "studies")
    assert said.returncode == 2
    assert said.stderr.count("\n") == 1
    assert "control characters, or % before two" in said.stderr


@pytest.mark.parametrize("name", ["a*b?c[1]d@e", "x=1"])
def test_an_s3_prefix_may_have_any_name(
    tmp_path: Path,
    inline: Segprint,
    s3: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    for key, value in s3.items():
        monkeypatch.setenv(key, value)
    url = f"s3://{BUCKET}/{tmp_path.name}-{name}/p"
    commit(Ledger(Store(url)), "a" * 16, "arm", [(3, 1, 1)])
    _walk(inline, url, tmp_path)
    said = inline("--store", url, "export", "-o", f"{url}-tree")
    assert said.returncode == 0, said.stderr


def _walk(inline: Segprint, url: str, folder: Path) -> None:
    """Query, compact, query, check, report and export; the row is there each time."""
    for words in (
        *(["tables", "check"], ["query", "SELECT task FROM trials", "--json"]),
        *(["tables", "compact"], ["query", "SELECT task FROM trials", "--json"]),
        *(["tables", "check"], ["report", "study", "-o", "r.html"], ["trials"]),
        ["export", "-o", str(folder / "tree")],
    ):
        said = inline("--store", url, *words)
        assert said.returncode == 0, (words, said.stderr)
        assert "damage" not in said.stderr.replace("0 damaged", "")
        if words[0] == "query":
            assert json.loads(said.stdout) == [{"task": "task"}]
    assert pq.read_table(folder / "tree" / "trials")["task"].to_pylist() == ["task"]


def test_a_file_system_without_hard_links_keeps_one_of_several_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    store = Store(str(tmp_path))
    assert store.check(), "exactly one of several racing creators wins"
    assert store.create("k", b"1")
    assert not store.create("k", b"2")
    assert store.get("k") == b"1"
    assert not store.unfinished()


def test_a_terminal_shows_one_screen_and_all_on_demand(url: str) -> None:
    sql = "SELECT unnest(range(1000)) AS n"
    short, every = (_on_terminal(url, sql, *more) for more in ([], ["--all"]))
    assert len(short.splitlines()) <= 24
    assert "979 more rows; --all prints every row" in short
    assert "999" in every
    assert "more row" not in every


def _on_terminal(url: str, *words: str) -> str:
    """Return what a query prints to a terminal of 24 lines."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "--store", url, "query", *words],
        stdout=follower,
        cwd=ROOT,
        env={**os.environ, "LINES": "24", "COLUMNS": "80", "TERM": "xterm"},
    )
    os.close(follower)
    text = b"".join(_chunks(leader))
    assert process.wait() == 0
    os.close(leader)
    return text.decode()


def _chunks(leader: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(leader, 1 << 16)
        except OSError:  # the terminal was closed
            return
        if not chunk:
            return
        yield chunk


def test_every_format_of_a_table_is_an_option() -> None:
    assert set(TABLE_FORMATS) == {"table", *FORMATS}


def test_help_loads_no_library_that_it_does_not_print() -> None:
    code = "import sys; from orchestrator.arguments import parser; parser().format_help()\n"
    code += "print(*sorted({'torch', 'ray', 'duckdb', 'pyarrow', 'rich'} & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert loaded.stdout == "\n"
