"""Checks within seconds that a head answers, accepts the token and runs the same versions.

Ray itself would try for minutes, and print a line every few seconds.
"""

from __future__ import annotations

import json
import platform
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from cluster import _ray

TIMEOUT_SECONDS = 10.0
Value = TypeVar("Value")


def probe(address: str) -> None:
    """Check the head at HOST:PORT.

    Raises:
        ConnectionError: there is no answer, the token is wrong, or the versions differ.
    """
    connect(address)
    metadata = json.loads(_recorded(address, _ray.cluster_metadata) or "{}")
    import ray

    ours = {"Ray": ray.__version__, "Python": platform.python_version()}
    theirs = {"Ray": metadata.get("ray_version"), "Python": metadata.get("python_version")}
    if all(theirs.values()) and theirs != ours:
        raise ConnectionError(
            f"the cluster at RAY_ADDRESS={address} runs {_listed(theirs)}, this environment has"
            f" {_listed(ours)}: a sweep from here needs the same versions (see constraints.txt);"
            " segprint submit needs only the same Ray"
        )


def _listed(versions: dict[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in versions.items())


def dashboard(address: str) -> str:
    """Return HOST:PORT of the dashboard that the head at HOST:PORT records; empty if it has none.

    Raises:
        ConnectionError: there is no answer, or the token is wrong.
    """
    connect(address)
    return _recorded(address, _ray.dashboard_address)


def connect(address: str) -> None:
    """Raise ConnectionError unless something listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise ConnectionError(
            f"RAY_ADDRESS={address} must be HOST:PORT of the head, e.g. head:6379"
        )
    try:
        socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"no Ray at RAY_ADDRESS={address}: {error}; is it the head's address, and"
            " is the network path open?"
        ) from error


def _recorded(address: str, read: Callable[[Any, float], Value]) -> Value:
    """Return what the head at HOST:PORT records."""
    import grpc
    import ray.exceptions

    channel = _ray.gcs_channel(address)
    try:
        return read(channel, TIMEOUT_SECONDS)
    except ray.exceptions.AuthenticationError as error:  # raised before the request is sent
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise ConnectionError(f"no token for RAY_ADDRESS={address}: {reason}") from error
    except grpc.RpcError as error:
        code: Any = error.code()  # pyright: ignore[reportAttributeAccessIssue]
        if code == grpc.StatusCode.UNAUTHENTICATED:
            raise ConnectionError(
                f"the cluster at RAY_ADDRESS={address} does not take the token, or there is none:"
                " set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to the file of the cluster's"
                " token"
            ) from error
        raise ConnectionError(
            f"the server at RAY_ADDRESS={address} does not answer as Ray's head ({code.name}):"
            " the port must be the head's (6379), not the dashboard's"
        ) from error
    finally:
        channel.close()
