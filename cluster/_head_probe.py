"""Whether a head answers, takes this client's token and runs the same versions, within seconds.

Ray itself would try for minutes, with a line on the screen every few seconds.
"""

from __future__ import annotations

import json
import platform
import socket
from typing import Any

ANSWER_SECONDS = 10.0


def reach(address: str) -> None:
    """Ask the head at HOST:PORT whose it is.

    Raises:
        ConnectionError: nobody answers, the token is wrong, or the versions are not this process's.
    """
    _listens(address)
    theirs = json.loads(_metadata(address) or "{}")
    import ray

    ours = {"Ray": ray.__version__, "Python": platform.python_version()}
    found = {"Ray": theirs.get("ray_version"), "Python": theirs.get("python_version")}
    if all(found.values()) and found != ours:
        named = [" and ".join(f"{k} {v}" for k, v in of.items()) for of in (found, ours)]
        raise ConnectionError(
            f"the cluster at RAY_ADDRESS={address} runs {named[0]}, this environment has"
            f" {named[1]}: to sweep from here all must be the same, see constraints.txt; segprint"
            " submit only asks for the same Ray"
        )


def _listens(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise ConnectionError(
            f"RAY_ADDRESS={address} must be HOST:PORT of the head, e.g. head:6379"
        )
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"no Ray at RAY_ADDRESS={address}: {error}; is it the head's address, and the way open?"
        ) from error


def _metadata(address: str) -> bytes:
    """What the head notes of its versions, as JSON; nothing where it does not."""
    import grpc
    import ray.exceptions
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2 as messages
    from ray.core.generated.gcs_service_pb2_grpc import InternalKVGcsServiceStub

    channel: Any = init_grpc_channel(address)
    request: Any = messages.InternalKVGetRequest(  # pyright: ignore[reportAttributeAccessIssue]
        key=b"CLUSTER_METADATA", namespace=b"cluster"
    )
    try:
        answer = InternalKVGcsServiceStub(channel).InternalKVGet(request, timeout=ANSWER_SECONDS)
        return answer.value
    except ray.exceptions.AuthenticationError as error:  # said before anything is asked
        said = " ".join(str(error).split()).partition(". ")[0]
        raise ConnectionError(f"no token for RAY_ADDRESS={address}: {said}") from error
    except grpc.RpcError as error:
        code: Any = error.code()  # pyright: ignore[reportAttributeAccessIssue]
        if code == grpc.StatusCode.UNAUTHENTICATED:
            raise ConnectionError(
                f"the cluster at RAY_ADDRESS={address} does not take the token, or there is none:"
                " set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file with the cluster's"
                " own"
            ) from error
        raise ConnectionError(
            f"what listens at RAY_ADDRESS={address} does not answer as Ray's head ({code.name}):"
            " it must be the head's own port (6379), not the dashboard's"
        ) from error
    finally:
        channel.close()
