"""The store, on a local directory and on a real S3 server alike."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.storage.object_store import Store, StoreError


@pytest.fixture(params=["local", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    if request.param == "s3":
        for name, value in request.getfixturevalue("s3").items():
            monkeypatch.setenv(name, value)
        yield Store(f"s3://segprint-test/{tmp_path.name}")
    else:
        yield Store(str(tmp_path / "store"))


def test_what_is_put_is_read_listed_and_deleted(store: Store) -> None:
    store.put("a/b.bin", b"one")
    store.put("a/b.bin", b"two")
    store.put("a/c/d.bin", b"")
    assert store.get("a/b.bin") == b"two"
    assert store.list("a/") == ["a/b.bin", "a/c/d.bin"]
    assert store.get_many(["a/b.bin", "a/c/d.bin"]) == {"a/b.bin": b"two", "a/c/d.bin": b""}
    store.delete("a/b.bin")
    store.delete("a/b.bin")
    assert store.list("a/") == ["a/c/d.bin"]
    with pytest.raises(KeyError):
        store.get("a/b.bin")
    assert store.get_many(["a/b.bin"]) == {}
    assert store.get_many(["a/c/d.bin"]) == {"a/c/d.bin": b""}
    assert store.get_many(["a/b.bin", "a/c/d.bin"]) == {"a/c/d.bin": b""}


def test_an_empty_prefix_lists_nothing(store: Store) -> None:
    assert store.list("nothing/") == []
    assert store.get_many([]) == {}


def test_of_many_racing_creators_exactly_one_wins(store: Store) -> None:
    start, won = threading.Barrier(8), list[int]()

    def create(i: int) -> None:
        mine: Store = pickle.loads(pickle.dumps(store))
        start.wait()
        if mine.create("race/key", str(i).encode()):
            won.append(i)

    threads = [threading.Thread(target=create, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("race/key") == str(won[0]).encode()


def test_check_passes_and_leaves_nothing_behind(store: Store) -> None:
    assert store.check(), "of racing creators, one wins"
    assert store.list("checks/") == []


def test_wrong_credentials_are_one_clear_error_without_the_secret(
    s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")
    with pytest.raises(StoreError, match="check the bucket") as caught:
        Store("s3://segprint-test/x").check()
    assert "a-wrong-secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["gs://bucket/x", "s3://", "http://host/x"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be a directory or s3://BUCKET"):
        Store(url)


@pytest.mark.parametrize("scheme", ["s3", "https"])
def test_credentials_in_the_url_are_refused_and_not_repeated(scheme: str) -> None:
    with pytest.raises(ValueError, match="credentials belong in the environment") as caught:
        Store(f"{scheme}://key:planted-secret@bucket/x")
    assert "planted-secret" not in str(caught.value)


def test_a_file_where_the_directory_should_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        Store(str(tmp_path / "file")).check()


def test_of_many_files_the_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    for key in ("a/one", "a/two"):
        store.put(key, b"")
    (tmp_path / "store/a/two").unlink()
    (tmp_path / "store/a/two").mkdir()
    with pytest.raises(StoreError, match=r"cannot read a/two: "):
        store.get_many(["a/one", "a/two"])


def test_nothing_is_read_written_or_deleted_outside_the_store(store: Store, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("kept")
    store.put("a/b", b"inside")
    for key in ("../outside", "a/../../outside", "new/../../outside"):
        with pytest.raises(ValueError, match="leaves the store"):
            store.get(key)
        with pytest.raises(ValueError, match="leaves the store"):
            store.get_many([key])
        with pytest.raises(ValueError, match="leaves the store"), store.open(key):
            pass
        with pytest.raises(ValueError, match="leaves the store"):
            store.put(key, b"")
        with pytest.raises(ValueError, match="leaves the store"):
            store.create(f"{key}2", b"")
        with pytest.raises(ValueError, match="leaves the store"):
            store.put_stream(key, lambda file: file.write(b""))
        with pytest.raises(ValueError, match="leaves the store"):
            store.delete(key)
    store.put("a/..b", b"a name, not a folder")
    assert (tmp_path / "outside").read_text() == "kept"
    assert not (tmp_path / "outside2").exists()
