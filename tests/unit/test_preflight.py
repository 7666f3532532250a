"""The doctor: what it measures is true, and what is wrong is named with its cure."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import ray
import torch

from orchestrator.diagnostics import node_checks, preflight
from orchestrator.diagnostics.preflight import CheckResult
from orchestrator.ledger import write_rate
from orchestrator.ledger.write_rate import WriteRate
from orchestrator.storage.object_store import Store
from orchestrator.storage.objects import Entry


def states(check: Iterable[CheckResult]) -> dict[str, str]:
    return {name: state for name, state, _ in check}


def test_a_good_store_is_measured_and_left_as_it_was(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    found = states(preflight.store_times(store))
    assert found == {"store times": "ok", "read after write": "ok", "clock": "ok"}
    assert store.list("checks/") == []


class Odd(Store):
    """A store that is slow, gives what was there before, and whose clock is an hour ahead."""

    def put(self, key: str, value: bytes) -> None:
        time.sleep(0.01)
        super().put(key, value if value == b"0" else b"0")

    def entries(self, prefix: str) -> list[Entry]:
        ahead = datetime.now(UTC) + timedelta(hours=1)
        return [dataclasses.replace(e, modified=ahead) for e in super().entries(prefix)]


def test_an_odd_store_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "SLOW_MILLISECONDS", 5.0)
    found = list(preflight.store_times(Odd(str(tmp_path / "store"))))
    assert [state for _, state, _ in found] == ["warning", "failure", "warning"]
    said = " ".join(text for *_, text in found)
    assert "nearer" in said
    assert "4 of 5 reads" in said
    assert "+3600.0 s" in said


class Paced(Store):
    """A store that takes 50 ms for each new object, and counts them."""

    created = 0

    def create(self, key: str, value: bytes) -> bool:
        type(self).created += 1
        time.sleep(0.05)
        return super().create(key, value)


def test_conditional_writes_are_measured_remembered_and_cleaned_up(tmp_path: Path) -> None:
    store = Paced(str(tmp_path / "store"))
    assert WriteRate.remembered(store) is None
    assert states(preflight.conditional_writes(store)) == {"conditional writes": "ok"}
    assert Paced.created >= 5
    rate = WriteRate.remembered(store)
    assert rate is not None
    assert 0 < rate.per_second <= 20
    assert store.list("checks/") == []


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"per_second": "fast"}', b"\xff"])
def test_a_damaged_rate_is_none(tmp_path: Path, content: bytes) -> None:
    store = Store(str(tmp_path / "store"))
    store.put(write_rate.KEY, content)
    assert WriteRate.remembered(store) is None


def test_a_store_that_cannot_be_written_has_no_rate(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = preflight.conditional_writes(Store(str(tmp_path / "file")))
    assert found.state == "failure"


def test_two_processes_reach_each_other() -> None:
    assert states(preflight.gloo()) == {"gloo": "ok"}


def test_an_interface_that_is_not_there_is_named_with_its_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nothing0")
    ((_, state, found),) = preflight.gloo()
    assert state == "failure"
    assert "GLOO_SOCKET_IFNAME" in found


def test_a_package_that_does_not_fit_is_named_with_both_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert states(preflight.packages()) == {"packages": "ok"}
    true = preflight.version
    monkeypatch.setattr(preflight, "version", lambda n: "2.9.3" if n == "ray" else true(n))
    ((_, state, found),) = preflight.packages()
    assert state == "failure"
    assert "ray 2.9.3, <2.61,>=2.60 is needed" in found
    assert "pip install" in found


def test_a_node_that_differs_is_named_with_both_versions_and_the_cure() -> None:
    mine = {"Python": platform.python_version(), "torch": torch.__version__}
    same = {**mine, "Ray": ray.__version__}
    assert states([node_checks._versions(["0 at a"], [same])]) == {"node versions": "ok"}
    both = [same, {**same, "Ray": "2.9"}]
    _, state, found = node_checks._versions(["0 at a", "1 at b"], both)
    assert state == "failure"
    assert f"the driver has Python {platform.python_version()}" in found
    assert "1 at b: " in found
    assert "Ray 2.9: all nodes need the same" in found
    assert "0 at a" not in found


def test_a_node_without_the_store_its_gpus_or_disk_is_named_with_the_cure() -> None:
    names = ["0 at a", "1 at b"]
    _, state, found = node_checks._stores(names, [3.0, "Access Denied"])
    assert state == "failure"
    assert found.startswith("1 at b: Access Denied: nodes need the store's credentials")
    _, state, found = node_checks._stores(names, [3.0, 5000.0])
    assert (state, found.partition(":")[0]) == ("warning", "1 at b")
    _, state, found = node_checks._gpus(names, [1, 2], [1, 0])
    assert state == "failure"
    assert found.startswith("1 at b: Ray has 2, torch none: check the GPU driver")
