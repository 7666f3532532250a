"""One trained store for all pages, and a shell that runs their commands in this process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import search_spaces
from orchestrator.analyses import open_store
from tests import trees
from tests.conftest import ROOT
from tests.docs import training
from tests.docs.shell import Shell


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all spaces, two data sets and the store of a small, complete quickstart."""
    folder = tmp_path_factory.mktemp("pages")
    training.data_sets(folder / "data")
    training.spaces(folder / "spaces", folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGPRINT_CACHE", str(folder / "cache"))
        torch.set_num_threads(1)
        training.store(folder, folder / "spaces" / "quickstart.py")
    return folder


@pytest.fixture
def shell(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A directory of its own, with a copy of the store, as a reader of a page has it."""
    shutil.copytree(study / "results", tmp_path / "results")
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    trees.folder(tmp_path / "data" / "photos")
    trees.dim(tmp_path / "data" / "clinic")
    before = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search_spaces, "HERE", study / "spaces")
    os.environ["SEGPRINT_CACHE"] = str(study / "cache")
    os.environ.pop("SEGPRINT_STORE", None)
    digests = open_store("results").sql(
        "SELECT digest FROM studies WHERE stage = 'final' AND arm = 'feedforward' ORDER BY digest"
    )
    yield Shell(tmp_path, {"DIGEST": digests["digest"][0].as_py(), "CODE": training.CODE})
    os.environ.clear()
    os.environ.update(before)
