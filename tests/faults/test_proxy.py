"""The faults really happen, and what is not faulted passes through unchanged."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ResponseStreamingError,
)

from orchestrator.storage.object_store import Store
from tests.faults.proxy import Fault, Proxy, to

CREATE = {"Bucket": "segprint-test", "IfNoneMatch": "*"}


@pytest.fixture
def proxy(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    server = urlsplit(s3["AWS_ENDPOINT_URL"])
    assert server.hostname
    assert server.port
    with Proxy(server.hostname, server.port) as proxy:
        for name, value in {**s3, "AWS_ENDPOINT_URL": proxy.url}.items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def once(proxy: Proxy) -> Iterator[Any]:
    """A client that tries everything once."""
    config = Config(retries={"total_max_attempts": 1}, region_name="us-east-1")
    client: Any = boto3.client("s3", endpoint_url=proxy.url, config=config)
    yield client
    client.close()


@pytest.fixture
def store(proxy: Proxy, tmp_path: Path) -> Store:
    return Store(f"s3://segprint-test/{tmp_path.name}")


def connect(proxy: Proxy) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=30)


def code(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    answer = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_without_faults_everything_passes_and_is_counted(proxy: Proxy, store: Store) -> None:
    large = bytes(range(256)) * 40_000
    assert store.create("a/key with ü+%&=.bin", b"one")
    assert not store.create("a/key with ü+%&=.bin", b"two")
    store.put("a/large", large)
    assert store.get("a/key with ü+%&=.bin") == b"one"
    assert store.get("a/large") == large
    assert store.list("a/") == ["a/key with ü+%&=.bin", "a/large"]
    store.delete("a/large")
    with pytest.raises(KeyError):
        store.get("a/large")
    assert proxy.requests["DELETE"] == 1
    assert ("PUT", f"/{store.url.removeprefix('s3://')}/a/large") in proxy.log
    assert sum(proxy.requests.values()) == len(proxy.log)


def test_one_connection_serves_all_framings(proxy: Proxy) -> None:
    connection = connect(proxy)
    connection.request("PUT", "/segprint-test/x", iter([b"in ", b"chunks"]), encode_chunked=True)
    chunked = connection.getresponse()
    assert (chunked.status, b"<Code>AccessDenied</Code>" in chunked.read()) == (403, True)
    socket = connection.sock
    connection.request("HEAD", "/segprint-test/x")
    head = connection.getresponse()
    assert (head.status, head.read()) == (403, b"")
    connection.request("OPTIONS", "/")
    assert not connection.getresponse().read()
    assert connection.sock is socket
    connection.close()
    assert proxy.log == [
        ("PUT", "/segprint-test/x"),
        ("HEAD", "/segprint-test/x"),
        ("OPTIONS", "/"),
    ]


@pytest.mark.parametrize(
    ("status", "name"),
    [(403, "AccessDenied"), (500, "InternalError"), (503, "SlowDown"), (507, "XMinioStorageFull")],
)
def test_refusals_match_so_many_requests_and_never_reach_the_server(
    proxy: Proxy, once: Any, tmp_path: Path, status: int, name: str
) -> None:
    key = f"{tmp_path.name}/refused"
    fault = proxy.fault(Fault("refuse", to("PUT", "/refused"), times=2, status=status))
    for _ in range(2):
        with pytest.raises(ClientError) as error:
            once.put_object(**CREATE, Key=key, Body=b"1")
        assert code(error) == (status, name)
        with pytest.raises(ClientError) as error:
            once.head_object(Bucket="segprint-test", Key=key)
        assert code(error) == (404, "404")
    once.put_object(**CREATE, Key=key, Body=b"1")  # the fault is spent
    assert fault.hits == 2

    fault = proxy.fault(Fault("refuse", to("HEAD"), times=None, status=status))
    for _ in range(3):
        with pytest.raises(ClientError) as error:
            once.head_object(Bucket="segprint-test", Key=key)
        assert code(error)[0] == status
    proxy.heal()
    once.head_object(Bucket="segprint-test", Key=key)
    assert fault.hits == 3


def test_a_reset_comes_before_the_server_did_the_work_or_after(
    proxy: Proxy, once: Any, tmp_path: Path
) -> None:
    before = proxy.fault(Fault("reset", to("PUT", "/before")))
    after = proxy.fault(Fault("lose", to("PUT", "/after")))
    for name in ("before", "after"):
        with pytest.raises(ConnectionClosedError, match="Connection was closed"):
            once.put_object(**CREATE, Key=f"{tmp_path.name}/{name}", Body=b"1")
    assert (before.hits, after.hits) == (1, 1)

    once.put_object(**CREATE, Key=f"{tmp_path.name}/before", Body=b"2")
    with pytest.raises(ClientError) as error:  # it refuses the very object that it has written
        once.put_object(**CREATE, Key=f"{tmp_path.name}/after", Body=b"1")
    assert code(error) == (412, "PreconditionFailed")


def test_a_truncated_answer_is_noticed_and_read_again(
    proxy: Proxy, store: Store, once: Any
) -> None:
    value = b"0123456789" * 1000
    store.put("value", value)
    where = {"Bucket": "segprint-test", "Key": f"{store.url.rpartition('/')[2]}/value"}
    for keep, left in ((0, 0), (10, 10), (-1, 9999)):
        fault = proxy.fault(Fault("truncate", to(path="/value"), times=2, keep=keep))
        with pytest.raises(ResponseStreamingError, match=rf"IncompleteRead\({left} bytes read"):
            once.get_object(**where)["Body"].read()
        assert store.get("value") == value
        assert fault.hits == 2


def test_a_dead_server_refuses_resets_what_is_open_and_comes_back(
    proxy: Proxy, store: Store, once: Any
) -> None:
    store.put("key", b"1")
    idle, busy = (connect(proxy) for _ in range(2))
    idle.request("OPTIONS", "/")
    idle.getresponse().read()
    proxy.latency = 60.0
    busy.request("OPTIONS", "/")
    proxy.dead = True
    for connection in (idle, busy):
        with pytest.raises(ConnectionResetError):
            connection.sock.recv(1)
        connection.close()
    with pytest.raises(EndpointConnectionError):
        once.list_buckets()
    proxy.heal()
    assert store.get("key") == b"1"


def test_latency_holds_each_request(proxy: Proxy, once: Any) -> None:
    once.list_buckets()
    proxy.latency = 0.3
    began = time.monotonic()
    once.list_buckets()
    once.list_buckets()
    assert time.monotonic() - began >= 0.6


def test_a_store_that_ignores_conditions_lets_two_create_the_same_object(
    proxy: Proxy, once: Any, tmp_path: Path
) -> None:
    key = f"{tmp_path.name}/an object's ü+%&=.bin"
    once.put_object(**CREATE, Key=key, Body=b"first")
    with pytest.raises(ClientError) as error:
        once.put_object(**CREATE, Key=key, Body=b"second")
    assert code(error) == (412, "PreconditionFailed")
    proxy.ignores_conditions = True
    once.put_object(**CREATE, Key=key, Body=b"second", Metadata={"two": "a  b"})
    found = once.get_object(Bucket="segprint-test", Key=key)
    assert (found["Body"].read(), found["Metadata"]) == (b"second", {"two": "a  b"})
