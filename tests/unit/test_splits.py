"""Which file gives the splits, and which folder does."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.diagnostics.dataset_check import walk
from tests import trees
from tests.broken import GOOD, folder
from tests.trees import png, put
from trainables.datasets import Problem, Source

HEADER = "name,split"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    trees.folder(tmp_path / "set", GOOD)
    return tmp_path / "set"


def stems(root: Path) -> list[str]:
    return sorted(p.stem for p in (root / "masks").iterdir())


def assigned(root: Path) -> dict[str, str]:
    items = list(folder(root).scan())
    assert not [i for i in items if isinstance(i, Problem)], items
    return {i.name: i.split for i in items if isinstance(i, Source)}


def wanted(root: Path) -> dict[str, str]:
    """A split that no hash of the names gives."""
    return {stem: ("test", "val", "train")[i % 3] for i, stem in enumerate(stems(root))}


def table(rows: dict[str, str], delimiter: str = ",", wrap: str = "{}") -> bytes:
    def quoted(name: str) -> str:
        return '"' + wrap.format(name).replace('"', '""') + '"'

    lines = [delimiter.join((quoted(n), s)) for n, s in rows.items()]
    return "\n".join([f"name{delimiter}split", *lines, ""]).encode()


@pytest.mark.parametrize(
    "name", ["split.csv", "Split.csv", "splits.csv", "SPLITS.CSV", "sub/split.csv"]
)
def test_a_split_file_is_used_in_any_letter_case(root: Path, name: str) -> None:
    put(root / name, table(wanted(root)))
    assert assigned(root) == wanted(root)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "wrap", ["{}", "{}.png", "masks/{}.png", "masks\\{}.png", "./masks/{}.png"]
)
def test_names_may_have_a_folder_and_a_suffix_and_columns_any_separator(
    root: Path, delimiter: str, wrap: str
) -> None:
    put(root / "split.csv", table(wanted(root), delimiter, wrap))
    assert assigned(root) == wanted(root)


def test_empty_rows_of_a_spreadsheet_are_left_out(root: Path) -> None:
    put(root / "split.csv", table(wanted(root)) + b",\n,\n\n,,\n")
    assert assigned(root) == wanted(root)
    put(root / "split.csv", table(wanted(root)) + b",train\n")
    (problem, *_) = walk(folder(root)).problems
    assert problem.rule == "line 12: name is empty"


@pytest.mark.parametrize(
    "name",
    ["my_split.csv", "train.txt", "splits_final.json", "folds.csv", "split.xlsx", "lists/val.csv"],
)
def test_a_file_that_looks_like_splits_and_is_not_read_is_named(root: Path, name: str) -> None:
    put(root / name, b"anything")
    (problem,) = walk(folder(root)).problems
    assert (problem.file, problem.fatal) == (name, False)
    assert "splits are read from split.csv alone" in problem.rule


def test_a_table_with_a_column_of_splits_is_named(root: Path) -> None:
    put(root / "metadata.csv", b"id;split\n1;train\n")
    put(root / "ages.csv", b"id;age\n1;40\n")
    assert [p.file for p in walk(folder(root)).problems] == ["metadata.csv"]


def test_a_folder_of_site_codes_gives_no_split(tmp_path: Path) -> None:
    mask = trees.blobs(24, 28, 1, 1).astype("uint8")
    for i in range(6):
        site = f"{('TS', 'TR', 'VA')[i % 3]}_{i // 3}"
        put(tmp_path / site / "images" / f"{i}.png", png(trees.photo(mask, i)))
        put(tmp_path / site / "masks" / f"{i}.png", png(mask * 255))
    items = list(folder(tmp_path).scan())
    splits = {i.name.partition("_")[0]: set[str]() for i in items if isinstance(i, Source)}
    for i in items:
        assert isinstance(i, Source)
        splits[i.name.partition("_")[0]].add(i.split)
    assert sorted(i.split for i in items if isinstance(i, Source)) == [
        "test",
        "train",
        "train",
        "train",
        "train",
        "val",
    ]  # cut off by name, a fifth each


def test_a_split_file_that_contradicts_the_folders_is_taken_with_a_warning(root: Path) -> None:
    for side in ("images", "masks"):
        (root / "train").mkdir(exist_ok=True)
        (root / side).rename(root / "train" / side)
    rows = {
        p.stem: ("test", "val", "train")[i % 3]
        for i, p in enumerate(sorted((root / "train" / "masks").iterdir()))
    }
    put(root / "split.csv", table(rows))
    items = list(folder(root).scan())
    warned = [i.rule for i in items if isinstance(i, Problem) and not i.fatal]
    assert len(warned) == sum(split != "train" for split in rows.values())
    assert "by split.csv, which is taken, and not in train" in warned[0]
    assert {i.split for i in items if isinstance(i, Source)} == {"train", "val", "test"}
