"""Fixtures of the drills: a proxy that all S3 clients go through, and processes that end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.credentials import aws_chain
from orchestrator.storage.object_store import Store
from search_spaces import Space
from tests.faults.drill import Drill
from tests.faults.hands import Hand
from tests.faults.nodes import Nodes
from tests.faults.numbers import TABLE, printed
from tests.faults.proxy import Proxy

Hands = Callable[..., Hand]
Drills = Callable[..., Drill]


@pytest.fixture
def hands() -> Iterator[Hands]:
    """Start processes; those that still run are killed at the end."""
    started: list[Hand] = []

    def start(work: Callable[..., None], *args: Any) -> Hand:
        started.append(Hand(work, *args))
        return started[-1]

    yield start
    for hand in started:
        hand.kill()
        hand.process.join()


@pytest.fixture
def proxy(s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Between this process, its children and the S3 server."""
    server = urlsplit(s3["AWS_ENDPOINT_URL"])
    assert server.hostname
    assert server.port
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    with Proxy(server.hostname, server.port) as proxy:
        for name, value in {**s3, "AWS_ENDPOINT_URL": proxy.url}.items():
            monkeypatch.setenv(name, value)
        aws_chain.cache_clear()
        yield proxy
    aws_chain.cache_clear()


@pytest.fixture
def remote(proxy: Proxy, tmp_path: Path) -> Store:
    """A store of its own behind the proxy."""
    return Store(f"s3://segprint-test/{tmp_path.name}")


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of its own on this machine's disk."""
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    return Store(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def lasting() -> Iterator[Nodes]:
    """A Ray cluster that outlives its drivers, as one of a laboratory does."""
    with Nodes(0, {}) as nodes:
        yield nodes


@pytest.fixture
def nodes(lasting: Nodes) -> Iterator[Nodes]:
    """The lasting cluster with two nodes of one CPU; a drill leaves no resource of a job on it."""
    lasting.restore(2)
    yield lasting
    lasting.wait_until_free()


@pytest.fixture
def drill(tmp_path: Path, local: Store) -> Iterator[Drills]:
    """Make a drill on this machine's disk; on the lasting cluster where the test has one."""
    made: list[Drill] = []

    def make(name: str, space: Space, nodes: Nodes | None = None, **rest: Any) -> Drill:
        ledger = Ledger(rest.pop("store", local))
        where = {"on": "existing", "env": nodes.env} if nodes is not None else {}
        made.append(Drill(tmp_path, space, ledger, name, **where, **rest))
        return made[-1]

    yield make
    for drill in made:
        drill.kill()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the drills measured."""
    if TABLE:
        terminalreporter.section("drills")
        terminalreporter.write_line(printed(TABLE))
