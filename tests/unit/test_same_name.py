"""Two files of one name in one store, names that are refused, and damaged declarations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import cluster
from orchestrator.ledger.ledger import Ledger
from orchestrator.notebook.study import Study
from orchestrator.planning.plan import make_plan
from orchestrator.planning.same_name import check_same_study
from orchestrator.storage.object_store import Store
from search_spaces import load
from tests.cells import commit
from tests.conftest import SMALL, Segprint

COUNTS = [(9, 1, 1), (8, 2, 2)]


def write(file: Path, question: str, *, steps: int = 4, more: str = "") -> str:
    """Write a study and return its path."""
    config = {**SMALL, "train": {**SMALL["train"], "steps": steps, "validate_every": steps}}
    file.parent.mkdir(exist_ok=True)
    text = f"from search_spaces import *\nSPACE = Space({question!r}, {config!r}{more})\n"
    file.write_text(text)
    return str(file)


def commit_study(store: Path, file: str) -> None:
    """Declare the trials of a study and commit them."""
    ledger = Ledger(Store(str(store)))
    name, space = load(file)
    plan = make_plan(name, space, ledger)
    about: dict[str, Any] = {"study": name, "revision": plan.revision, "steps": 4}
    for t in plan.trials:
        cell, seed = t.cell, t.index
        commit(ledger, t.digest, cell.arm, COUNTS, cell=cell.name, seed=seed, **about)
    key = f"studies/{name}/space.json"
    description = {"question": space.question, "arms": ["default"], "revision": plan.revision}
    ledger.store.put(key, json.dumps(description).encode())


def test_another_study_of_the_same_name_is_refused_with_the_cure(
    inline: Segprint, tmp_path: Path
) -> None:
    one = write(tmp_path / "a" / "mine.py", "What does A cost?")
    commit_study(tmp_path / "results", one)
    before = (tmp_path / "results/studies/mine/space.json").read_bytes()
    other = write(tmp_path / "b" / "mine.py", "What does B cost?", steps=6)
    for verb in ("plan", "sweep"):
        done = inline(verb, other)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert "'mine'" in line
        assert "'What does A cost?'" in line
        assert "Space(name=...)" in line
    assert (tmp_path / "results/studies/mine/space.json").read_bytes() == before
    named = write(tmp_path / "b" / "mine.py", "What does B cost?", steps=6, more=", name='b'")
    done = inline("plan", named, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["study"] == "b"


@pytest.mark.parametrize(
    ("folder", "question", "steps"),
    [
        ("a", "What does A cost?", 6),  # its config is edited in place
        ("a", "What does A cost now?", 4),  # its question is edited in place
        ("clone", "What does A cost?", 4),
        ("clone", "What does A cost?", 6),
    ],
)
def test_an_edited_or_moved_file_continues_its_study(
    inline: Segprint, tmp_path: Path, folder: str, question: str, steps: int
) -> None:
    commit_study(tmp_path / "results", write(tmp_path / "a" / "mine.py", "What does A cost?"))
    done = inline("plan", write(tmp_path / folder / "mine.py", question, steps=steps))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", cluster.names())
def test_the_name_of_a_cluster_is_refused_with_the_cure(
    inline: Segprint, tmp_path: Path, name: str
) -> None:
    """``status NAME`` would show the cluster and hide the study."""
    rule = f"segprint: study '{name}' has the name of a cluster"
    file, sound = write(tmp_path / f"{name}.py", "Q"), write(tmp_path / "mine.py", "Q")
    named = write(tmp_path / "b" / "mine.py", "Q", more=f", name={name!r}")
    for command in (["plan", file], ["sweep", named], ["plan", sound, "--as", name]):
        done = inline(*command)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(rule)
        assert "--as NAME or Space(name=...)" in line
    with pytest.raises(ValueError, match="has the name of a cluster"):
        Study(named)
    assert json.loads(inline("plan", file, "--as", "mine", "--json").stdout)["study"] == "mine"


def test_a_name_of_an_arm_and_of_a_cell_of_another_arm_is_refused(
    inline: Segprint, ledger: Ledger
) -> None:
    cells = {"x_b": "b", "y_b": "b", "z_x_b": "x_b"}
    for digest, (cell, arm) in zip("abc", cells.items(), strict=True):
        commit(ledger, digest * 16, arm, COUNTS, study="s", cell=cell)
    for command in (
        ["compare", "s/x_b", "s/y_b"],
        ["compare", "s/y_b", "s/x_b"],
        ["weights", "export", "s/x_b", "-o", "a.safetensors"],
        ["read", "s/x_b"],
    ):
        done = inline("--store", ledger.store.url, *command)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert "'s/x_b' names the arm with the cells z_x_b, and a cell of the arm b" in line
    for fine in ("s/z_x_b", "s/b", "aaaaaa"):
        done = inline("--store", ledger.store.url, "compare", fine, "s/y_b", "--json")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("days", ["-1", "nan"])
def test_garbage_is_kept_for_no_negative_time(inline: Segprint, days: str) -> None:
    done = inline("tables", "gc", "--keep-days", days, "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"segprint: --keep-days {days} must be a number of at least 0\n"


def test_a_comparison_without_a_common_case_says_so(inline: Segprint, ledger: Ledger) -> None:
    for digest, study, seed in (("a", "s", 0), ("b", "s", 1), ("c", "t", 2), ("d", "t", 3)):
        commit(ledger, digest * 16, "x", COUNTS, study=study, seed=seed)
    done = inline("--store", ledger.store.url, "compare", "s", "t", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (1, [])
    assert "no test case of one task and seed in common" in done.stderr


def test_studies_count_the_trials_that_plan_and_status_count(
    inline: Segprint, tmp_path: Path
) -> None:
    """Two arms have one config, so that they share a trial."""
    arms = ", arms={'a': {}, 'b': {'train.batch': 4}}, replicates=2"
    file = write(tmp_path / "mine.py", "Q", more=arms)
    commit_study(tmp_path / "results", file)
    planned = json.loads(inline("plan", file, "--json").stdout)
    assert planned["configs"] == planned["done"] == 4
    (study,) = json.loads(inline("ls", "studies", "--json").stdout)
    assert (study["trials"], study["committed"]) == (4, 4)
    states = json.loads(inline("status", file, "--json").stdout)
    assert sum(row["finished"] for row in states) == 4


def test_the_command_that_retries_names_the_same_study(
    inline: Segprint, tmp_path: Path, ledger: Ledger
) -> None:
    """Without ``--store`` and ``--as`` it would begin another study."""
    file = write(tmp_path / "mine.py", "Q", more=", gpus=0")
    (trial,) = make_plan("other", load(file)[1], ledger).pending
    for _ in range(3):
        ledger.commit(trial.digest, "failed", {"trials": [{"outcome": "failed"}]})
    done = inline("--store", ledger.store.url, "sweep", file, "--as", "other", "--most", "9")
    assert done.returncode == 1, done.stderr
    again = f"segprint --store {ledger.store.url} sweep {file} --as other --most 9 --again"
    command = f"`{again}` retries them"
    assert f"1 trial given up after 3 failed attempts; {command}" in done.stdout
    assert inline("--store", ledger.store.url, "status", "other").returncode == 0


def test_a_name_does_not_enter_the_revision(tmp_path: Path, ledger: Ledger) -> None:
    plans = [
        make_plan(*load(write(tmp_path / "mine.py", "Q", more=more)), ledger)
        for more in ("", ", name='b'")
    ]
    assert [p.study for p in plans] == ["mine", "b"]
    assert plans[0].revision == plans[1].revision
    check_same_study(plans[0], ledger)  # nothing is stored


@pytest.mark.parametrize(
    "name", ["a\nb", "a\u202eb", "a\0b", ".", "..", "-a", "a/b", "n" * 201], ids=ascii
)
@pytest.mark.parametrize("field", ["name={!r}", "arms={{{!r}: {{}}}}"])
def test_a_bad_name_of_a_study_or_an_arm_is_one_line(
    inline: Segprint, tmp_path: Path, name: str, field: str
) -> None:
    done = inline("plan", write(tmp_path / "mine.py", "Q", more=", " + field.format(name)))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.isprintable()
    assert "must be a Python identifier" in line or "has 201 bytes" in line


@pytest.mark.parametrize("name", ["a\nb", "a\u202eb", "..", "-a"], ids=ascii)
def test_a_bad_name_of_a_task_is_one_line(inline: Segprint, tmp_path: Path, name: str) -> None:
    more = f", arms={{'one': {{'task': {{'pairs': {{'at': {'/nowhere/' + name!r}}}}}}}}}"
    done = inline("plan", write(tmp_path / "mine.py", "Q", more=more))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.isprintable()
    assert "cell" in line
    assert "task" in line


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"revision": 3}', b"[" * 100_000])
@pytest.mark.parametrize("file", ["space.json", "note.json", "trial"])
def test_a_damaged_study_hides_no_other(
    inline: Segprint, tmp_path: Path, content: bytes, file: str
) -> None:
    ledger = Ledger(Store(str(tmp_path / "results")))
    commit(ledger, "a" * 16, "x", COUNTS, study="sound")
    commit(ledger, "b" * 16, "x", COUNTS, study="hurt")
    (trial,) = [s.key for s in ledger.studies.declared("hurt")]
    ledger.store.put(trial if file == "trial" else f"studies/hurt/{file}", content)
    for command in (["ls", "studies"], ["query", "SELECT study FROM studies"], ["weights", "ls"]):
        done = inline(*command)
        assert done.returncode == 0, done.stderr
        assert command[0] == "weights" or "sound" in done.stdout
    assert inline("tables", "compact").returncode == 0
    assert "sound" in inline("query", "SELECT study FROM studies").stdout


def test_a_stored_study_with_a_long_name_hides_no_other(inline: Segprint, tmp_path: Path) -> None:
    long, ledger = "n" * 240, Ledger(Store(str(tmp_path / "results")))
    commit(ledger, "a" * 16, "x", COUNTS, study="sound")
    commit(ledger, "b" * 16, "x", COUNTS, study=long)
    for command in (["tables", "compact"], ["ls", "studies"]):
        assert inline(*command).returncode == 0
    rows = json.loads(inline("query", "SELECT study FROM studies", "--json").stdout)
    assert sorted(row["study"] for row in rows) == sorted([long, "sound"])
    assert inline("note", long, "--delete").returncode == 0
    assert len(ledger.store.list("tables/declared/")) == 1
