"""Fixtures of the drills: a proxy that all S3 clients go through, and processes that end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from orchestrator.store import Store, aws_chain
from tests.faults.hands import Hand
from tests.faults.proxy import Proxy

Hands = Callable[..., Hand]


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
