"""Every block of every page does what the page says: commands, Python, outputs, files."""

from __future__ import annotations

import csv
import importlib.util
import io
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

import cluster
from orchestrator.analyses import open_store
from orchestrator.planning.validation import check
from search_spaces import Space
from tests.conftest import ROOT
from tests.docs.pages import Block, blocks, pages
from tests.docs.shell import Shell
from trainables.part import KINDS, Part, part_class

CHECKED = {"sh", "python", "csv", "text", "toml"}
"""Languages of blocks; ``text`` is an output to compare, or a drawing with a test of its own."""


LONG = ("docs/findings.md", "docs/results.md")
"""Pages whose commands take half a minute or more."""


def _names() -> list[pytest.ParameterSet]:
    names = [str(page.relative_to(ROOT)) for page in pages()]
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in names]


@pytest.mark.parametrize("page", _names())
def test_every_block_of_a_page_works(page: str, shell: Shell) -> None:
    scope: dict[str, Any] = {}
    printed = ""
    for block in blocks((ROOT / page).read_text(encoding="utf-8")):
        at = f"{page}:{block.line}"
        assert block.language in CHECKED, f"{at}: no rule says how this block is checked"
        if block.language == "sh":
            printed = "".join(shell.run(line) for line in block.commands)
        elif block.language == "python":
            _python(block, shell.folder, scope)
        elif block.language == "csv":
            rows = list(csv.DictReader(io.StringIO(block.text)))
            assert "name" in rows[0], at
            assert {"split", "patient"} & rows[0].keys(), at
        elif block.language == "toml":
            assert block.file is not None, f"{at}: the first line names no file"
            (shell.folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.info == "output":
            assert _excerpt(block.text.split(), printed.split()), at


def _excerpt(shown: list[str], printed: list[str]) -> bool:
    """Whether the shown words are printed one after the other."""
    starts = (i for i, word in enumerate(printed) if word == shown[0])
    return any(printed[i : i + len(shown)] == shown for i in starts)


def _python(block: Block, folder: Path, scope: dict[str, Any]) -> None:
    """Run a block; one that names its file is written there for the commands after it."""
    if block.file is None:
        exec(compile(block.text, f"line {block.line}", "exec"), scope)
        defined = scope
    else:
        path = folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        defined = vars(_module(path))
        _as_its_folder_asks(path.relative_to(folder), path, defined)
    space, where = defined.get("SPACE"), defined.get("CLUSTER")
    if isinstance(space, Space):
        assert check(space)
    if where is not None:
        assert isinstance(where, cluster.Cluster | cluster.Remote)


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _as_its_folder_asks(where: Path, path: Path, defined: dict[str, Any]) -> None:
    """A file that belongs into a folder of the program is what that folder's files are."""
    kind = where.parent.name
    if where.parts[:2] == ("orchestrator", "analyses"):
        assert isinstance(defined["rows"](open_store("results")), pa.Table)
    elif where.parts[:1] == ("trainables",):
        assert kind in KINDS
        assert issubclass(part_class(kind, str(path)), Part)
