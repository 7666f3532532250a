"""The layers of the packages hold, and the tools notice when they do not."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("orchestrator", "trainables", "search_spaces", "cluster")
FORBIDDEN = {
    "orchestrator/storage/retry.py": "from orchestrator.ledger import commits",
    "orchestrator/report/cell_names.py": "import orchestrator.sweep",
    "orchestrator/claims/roles.py": "import orchestrator.planning.plan",
    "trainables/masks.py": "import orchestrator",
    "search_spaces/quickstart.py": "import numpy",
}
LOOKED_UP = {
    "cluster/_choices.py",
    "orchestrator/analyses/__init__.py",
    "orchestrator/cli.py",
    "orchestrator/report/page.py",
}
"""Files of the orchestrator and of cluster that import the files of their own folder by name."""


def contracts(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over a copy of the packages."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(copy: Path) -> None:
    done = contracts(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", FORBIDDEN)
def test_a_forbidden_import_breaks_a_contract(copy: Path, file: str) -> None:
    path = copy / file
    path.write_text(f"{path.read_text(encoding='utf-8')}\n\n{FORBIDDEN[file]}\n", encoding="utf-8")
    done = contracts(copy)
    assert done.returncode == 1
    importer = file.removesuffix(".py").replace("/", ".")
    assert f"{importer} ->" in done.stdout


def test_modules_are_looked_up_by_name_in_their_own_folder_only() -> None:
    """import-linter does not see ``import_module``, which could climb the layers."""
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("orchestrator", "search_spaces", "cluster")
        for path in (ROOT / package).rglob("*.py")
        if "import_module" in path.read_text(encoding="utf-8")
    }
    assert found <= LOOKED_UP


def test_every_package_says_in_a_sentence_what_it_is() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("__init__.py"):
            sentence = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            assert sentence, path
            assert sentence.partition("\n")[0].endswith("."), path
