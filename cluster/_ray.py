"""The functions of Ray that this package and the doctor use, with types.

Ray's own functions and its gRPC services are partly untyped; this module annotates what they
return. Ray is imported on first use, because a cluster sets its variables before.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

CONNECT_SECONDS = 3.0
"""The time in which a raylet accepts a connection."""


class RayNode(NamedTuple):
    """A live node of the connected cluster."""

    id: str
    address: str
    """Its IP address; nodes on one machine share it."""
    resources: dict[str, float]
    """The amount of each resource, e.g. ``CPU`` and ``GPU``."""

    def amount(self, kind: str) -> float:
        """Return the amount of a resource, 0 if the node has none."""
        return self.resources.get(kind, 0.0)


def ray() -> Any:
    """Return Ray's module, untyped."""
    import ray

    return ray


@contextmanager
def processes_in_groups_of_their_own() -> Generator[None]:
    """Start each process of a new Ray in a process group of its own.

    ``timeout``, batch systems and Ctrl-C signal the driver's whole process group. Ray would end
    with it, before the driver could save its trials. Ray has no option for this. Its processes end
    with the driver all the same: ``ray.shutdown`` ends each by its id, and the kernel ends them
    when the driver dies. After a SIGKILL of the driver, the raylet's two agents follow within about
    a minute, the time for which they wait for the dead head.
    """
    from ray._private import services

    untyped: Any = services
    start = untyped.ConsolePopen
    untyped.ConsolePopen = functools.partial(start, process_group=0)
    try:
        yield
    finally:
        untyped.ConsolePopen = start


@contextmanager
def own_sigterm_handler() -> Generator[None]:
    """Keep this process's handler of SIGTERM, if it has one, while Ray starts or connects.

    Ray would replace it with handlers that exit without a message, or with the stack of Ray's own
    error if not all of its processes run yet.
    """
    from ray._private import utils

    untyped: Any = utils
    install = untyped.set_sigterm_handler
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        untyped.set_sigterm_handler = _ignore
    try:
        yield
    finally:
        untyped.set_sigterm_handler = install


def _ignore(_: object) -> None:
    """Install no handler."""


def make_session_private() -> None:
    """Close the session directory of a Ray that this process started to other users.

    Ray makes it, with its logs and sockets, writable for everybody, whatever the umask.
    """
    from ray._private import worker

    untyped: Any = worker
    os.chmod(untyped.global_worker.node.get_session_dir_path(), 0o700)


def shorten_messages() -> None:
    """Print each of Ray's messages as one line on stderr, and none about the death of a raylet.

    Ray prints the last 20 lines of the raylet's log, once per agent, and has no option for this.
    The sweep itself says which trials lost their node.
    """
    from ray._private import worker

    untyped: Any = worker
    untyped.print_to_stdstream = _print_first_lines


def _print_first_lines(data: dict[str, Any], ignore_prefix: bool) -> None:
    """Stand in for ``ray._private.worker.print_to_stdstream``."""
    for text in data["lines"]:
        first = str(text).strip().partition("\n")[0]
        if first and not first.startswith("Raylet is terminated."):
            print(f"segprint: Ray: {first}", file=sys.stderr, flush=True)


def dead_processes() -> list[str]:
    """Return the names of the processes of a Ray that this process started which have died."""
    from ray._private import worker

    untyped: Any = worker
    node: Any = untyped.global_worker.node
    essential = ("gcs_server", "raylet")
    return [name for name, _ in node.dead_processes() if name in essential] if node else []


def has_lost_node(actor_id: str) -> bool:
    """Whether the node of an actor is gone: it is marked dead, or its raylet does not listen.

    A raylet that was killed ends its workers at once, and Ray marks the node as dead only 15
    seconds later.
    """
    from ray._private.state import state

    untyped: Any = state
    actor: dict[str, Any] = untyped.actor_table(actor_id)
    listed: list[dict[str, Any]] = ray().nodes()
    node_id = actor.get("Address", {}).get("NodeID")
    node = next((n for n in listed if node_id and n["NodeID"] == node_id), None)
    return node is not None and not (node["Alive"] and _listens(node))


def _listens(node: dict[str, Any]) -> bool:
    address = (node["NodeManagerAddress"], int(node["NodeManagerPort"]))
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def alive_nodes() -> list[RayNode]:
    """Return the live nodes of the connected cluster, in no particular order."""
    listed: list[dict[str, Any]] = ray().nodes()
    return [
        RayNode(str(node["NodeID"]), str(node["NodeManagerAddress"]), dict(node["Resources"]))
        for node in listed
        if node["Alive"]
    ]


def total_resources() -> dict[str, float]:
    """Return the resources of the connected cluster."""
    return ray().cluster_resources()


def head_address() -> str:
    """Return HOST:PORT of the connected head."""
    return ray().get_runtime_context().gcs_address


def job_id() -> str:
    """Return the id of the job of this driver."""
    return ray().get_runtime_context().get_job_id()


def request_nodes(count: int, resources: dict[str, float]) -> None:
    """Ask Ray's autoscaler for nodes with these resources; no effect without an autoscaler."""
    from ray.autoscaler import sdk

    untyped: Any = sdk
    untyped.request_resources(bundles=[resources] * count)


def gcs_channel(address: str) -> Any:
    """Return a gRPC channel to the global control store (GCS) at HOST:PORT of a head."""
    from ray._private import grpc_utils

    untyped: Any = grpc_utils
    return untyped.init_grpc_channel(address)


def cluster_metadata(channel: Any, timeout: float) -> bytes:
    """Return the versions that a head records as JSON; empty if it records none.

    Raises:
        grpc.RpcError: the head does not answer within ``timeout`` seconds, or refuses.
    """
    return _internal_value(channel, b"CLUSTER_METADATA", b"cluster", timeout)


def dashboard_address(channel: Any, timeout: float) -> str:
    """Return HOST:PORT of the dashboard that a head records; empty if it has none.

    Raises:
        grpc.RpcError: the head does not answer within ``timeout`` seconds, or refuses.
    """
    return _internal_value(channel, b"dashboard", b"dashboard", timeout).decode()


def _internal_value(channel: Any, key: bytes, namespace: bytes, timeout: float) -> bytes:
    """Return a value of the head's internal store; empty if there is none."""
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    messages: Any = gcs_service_pb2
    services: Any = gcs_service_pb2_grpc
    request = messages.InternalKVGetRequest(key=key, namespace=namespace)
    return services.InternalKVGcsServiceStub(channel).InternalKVGet(request, timeout=timeout).value


def kill_actors(ids: list[str], timeout: float) -> None:
    """Kill actors of the connected cluster by their ids, even those without a name or handle."""
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    messages: Any = gcs_service_pb2
    services: Any = gcs_service_pb2_grpc
    channel = gcs_channel(head_address())
    for actor_id in ids:
        request = messages.KillActorViaGcsRequest(
            actor_id=bytes.fromhex(actor_id), force_kill=True, no_restart=True
        )
        services.ActorInfoGcsServiceStub(channel).KillActorViaGcs(request, timeout=timeout)
    channel.close()
