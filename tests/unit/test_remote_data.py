"""Data sets on a real S3 server: the same as on disk, and clear errors where there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import boto3
import numpy as np
import pytest
import s3fs

from tests import trees
from tests.conftest import Segprint
from trainables.datasets import Dataset
from trainables.decoding import tree
from trainables.decoding.cache import forget, load
from trainables.parsing import parse_part
from trainables.runtime.heartbeat import Heartbeat

BASE = "s3://segprint-test/data"
NOWHERE = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}

Upload = Callable[[Path, str], str]


def _anew() -> None:
    """As a new process is: nothing loaded, no connection."""
    forget()
    tree.s3.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(autouse=True)
def _environment(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    for name, value in {**s3, "SEGPRINT_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    _anew()
    yield
    _anew()


@pytest.fixture
def upload(s3: dict[str, str]) -> Upload:
    """Put all files below a folder to a place below :data:`BASE`; returns its URL."""
    client: Any = boto3.client("s3", endpoint_url=s3["AWS_ENDPOINT_URL"])

    def put(folder: Path, name: str) -> str:
        for file in trees.each(folder):
            key = f"data/{name}/{file.relative_to(folder).as_posix()}"
            client.put_object(Bucket="segprint-test", Key=key, Body=file.read_bytes())
        return f"{BASE}/{name}"

    return put


def made(name: str, at: object) -> Dataset:
    return cast("Dataset", parse_part("datasets", {name: {"at": str(at)}}))


def write(name: str, root: Path) -> Path:
    if name == "isic16":
        trees.isic16(root, zipped=True)
    else:
        trees.WRITERS[name](root)
    return root


@pytest.mark.parametrize("name", ["folder", "isic16"])
def test_a_remote_tree_reads_as_the_local_one(name: str, tmp_path: Path, upload: Upload) -> None:
    local = write(name, tmp_path / "local")
    ours, theirs = load(made(name, local)), load(made(name, upload(local, name)))
    assert theirs.content_hash == ours.content_hash
    for mine, other in zip(ours.images, theirs.images, strict=True):
        assert mine.name == other.name
        np.testing.assert_array_equal(mine.pixels, other.pixels)


@pytest.mark.parametrize("name", ["folder", "isic16"])
def test_changed_remote_files_are_read_anew(name: str, tmp_path: Path, upload: Upload) -> None:
    before = load(made(name, upload(write(name, tmp_path / "local"), f"changed-{name}")))
    if name == "isic16":
        trees.isic16(tmp_path / "local", train=8, test=4, zipped=True)
    else:
        trees.folder(tmp_path / "local", cases=12)
    after = load(made(name, tmp_path / "local")).content_hash
    url = upload(tmp_path / "local", f"changed-{name}")
    forget()
    assert load(made(name, url)).content_hash == after != before.content_hash


@pytest.mark.parametrize("above", [f"{BASE}/below", f"{BASE}/below/"])
def test_all_data_may_lie_below_a_remote_place(
    above: str, tmp_path: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = write("folder", tmp_path / "local")
    upload(local, "below/mine")
    monkeypatch.setenv("SEGPRINT_DATA", above)
    assert load(made("folder", "mine")).content_hash == load(made("folder", local)).content_hash


def test_a_remote_folder_is_checked_and_named_as_a_study_writes_it(
    tmp_path: Path, upload: Upload, inline: Segprint
) -> None:
    url = upload(write("isic16", tmp_path / "local"), "checked")
    done = inline("data", "check", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert f'in a study: "task": {{"isic16": {{"at": "{url}"}}}}' in done.stdout


def test_a_place_next_to_one_of_a_similar_name_is_not_mixed_up_with_it(
    tmp_path: Path, upload: Upload
) -> None:
    local = write("folder", tmp_path / "local")
    url = upload(local, "similar")
    trees.folder(tmp_path / "more", cases=14)
    upload(tmp_path / "more", "similar-too")
    assert load(made("folder", url)).content_hash == load(made("folder", local)).content_hash


@pytest.mark.parametrize(
    ("place", "env", "message"),
    [
        (f"{BASE}/nothing", {}, f"{BASE}/nothing does not exist, or holds no file"),
        ("s3://no-such-bucket/data", {}, "no-such-bucket"),
        ("s3://", {}, "must be a directory or s3://BUCKET[/PREFIX]"),
    ],
)
def test_a_place_that_cannot_be_read_is_one_clear_error(
    place: str, env: dict[str, str], message: str, inline: Segprint
) -> None:
    done = inline("data", "check", place, **env)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("segprint: ")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("env", [{}, NOWHERE], ids=["missing", "unreachable"])
def test_a_data_set_that_cannot_be_read_names_its_place(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OSError, match=f"{BASE}/missing"):
        load(made("folder", f"{BASE}/missing"))


@pytest.mark.parametrize("how", ["path", "at", "SEGPRINT_DATA"])
def test_credentials_in_a_url_are_refused_and_not_printed(how: str, inline: Segprint) -> None:
    url = "s3://planted-key:hidden/word@segprint-test/data"
    arguments, env = {
        "path": ((url,), {}),
        "at": (("folder", "--set", f"at={url}"), {}),
        "SEGPRINT_DATA": (("folder",), {"SEGPRINT_DATA": url}),
    }[how]
    done = inline("data", "check", *arguments, **env)
    assert done.returncode == 2
    assert "credentials belong in the environment, not in the URL" in done.stderr
    assert "hidden" not in done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_every_page_of_a_listing_is_a_sign_of_life() -> None:
    told = threading.Semaphore(0)
    with Heartbeat(told.release, every=0.01):
        with pytest.raises(FileNotFoundError):
            tree.tree(f"{BASE}/empty")
        assert told.acquire(timeout=10)
