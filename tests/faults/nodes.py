"""A Ray cluster of several nodes on this machine, in a process that outlives every driver.

Run as a module it holds the nodes and obeys lines on its standard input; :class:`Nodes` is the
other end of that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.server import free_ports

QUICK = {
    # So that a death is noticed in seconds, not in half a minute.
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Every server of the cluster listens on loopback only.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "GLOO_SOCKET_IFNAME": "lo",
}


class Nodes:
    """A head without CPUs, and worker nodes of one CPU each, by number."""

    def __init__(self, count: int, env: Mapping[str, str]) -> None:
        self.env = {**os.environ, **QUICK, "PYTHONPATH": str(ROOT), **env}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nodes"],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.env["RAY_ADDRESS"] = self.ask("head")
        self.alive = set[int]()
        self.restore(count)

    def restore(self, count: int) -> None:
        """Add nodes until so many are there."""
        while len(self.alive) < count:
            self.add()

    def ask(self, *words: str | int) -> Any:
        """Send a command to the process that holds the nodes; return its answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process that holds the nodes is gone"
        return json.loads(line)

    def add(self) -> int:
        """One more node; its number."""
        number = self.ask("add")
        self.alive.add(number)
        return number

    def kill(self, number: int) -> None:
        """SIGKILL a node's raylet; its workers end with it."""
        self.alive.remove(number)
        os.kill(self.ask("raylet", number), signal.SIGKILL)

    def under(self, pid: int) -> int:
        """The node that a worker process belongs to."""
        raylets = {self.ask("raylet", number): number for number in self.alive}
        return raylets[parent(pid)]

    def held(self) -> dict[str, Any]:
        """CPUs in use, and the placement groups and actors there are."""
        return self.ask("held")

    def wait_until_free(self, patience: float = 90) -> None:
        """Until nothing of any job is left on the cluster."""
        deadline = time.monotonic() + patience
        while any((held := self.held()).values()):
            assert time.monotonic() < deadline, f"left on the cluster: {held}"
            time.sleep(0.2)

    def drain(self, number: int, seconds: float) -> None:
        """Announce that a node is taken back, as a spot market does; then it is gone."""
        self.ask("drain", number, seconds)

    def kill_head(self) -> None:
        """SIGKILL the head's control store: the cluster is lost with all that runs on it."""
        os.kill(self.ask("gcs"), signal.SIGKILL)

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def parent(pid: int) -> int:
    """The process that started another."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def hold() -> None:
    """Execute the commands on the standard input until it ends."""
    from ray.cluster_utils import Cluster

    answers, sys.stdout = sys.stdout, sys.stderr  # Ray prints
    cluster: Any = None
    nodes: list[Any] = []
    for line in sys.stdin:
        word, *rest = line.split()
        answer: Any = None
        if word == "head":
            cluster = Cluster(
                initialize_head=True,
                head_node_args={
                    "num_cpus": 0,
                    "include_dashboard": True,
                    "dashboard_host": "127.0.0.1",
                    "dashboard_port": free_ports(1)[0],
                    # Where another Ray has the usual one, this head would take no jobs.
                    "dashboard_agent_listen_port": free_ports(1)[0],
                },
            )
            answer = cluster.address
        elif word == "dashboard":
            answer = f"http://{cluster.head_node.webui_url}"
        elif word == "logs":
            answer = cluster.head_node.get_logs_dir_path()
        elif word == "add":
            answer = len(nodes)
            # On machines of their own, nodes would not unpack what a job needs in one place.
            place = f"runtime_resources_{answer}"
            nodes.append(cluster.add_node(num_cpus=1, runtime_env_dir_name=place))
        elif word == "raylet":
            answer = nodes[int(rest[0])].all_processes["raylet"][0].process.pid
        elif word == "head_raylet":
            answer = cluster.head_node.all_processes["raylet"][0].process.pid
        elif word == "gcs":
            answer = cluster.head_node.all_processes["gcs_server"][0].process.pid
        elif word == "held":
            answer = _held(cluster.global_state)
        elif word == "drain":
            answer = _drain(cluster.address, nodes[int(rest[0])], float(rest[1]))
        print(json.dumps(answer), file=answers, flush=True)
    if cluster is not None:
        cluster.shutdown()


def _held(state: Any) -> dict[str, Any]:
    total, free = state.cluster_resources(), state.available_resources()
    groups = state.placement_group_table().values()
    actors = {a["ActorClassName"] for a in state.actor_table(None, None, "ALIVE").values()}
    return {
        "cpus": total.get("CPU", 0) - free.get("CPU", 0),
        "groups": [g["placement_group_id"] for g in groups if g["state"] != "REMOVED"],
        "actors": sorted(actors - {"_AutoscalingCoordinatorActor"}),  # Ray's own, one per cluster
    }


def _drain(address: str, node: Any, seconds: float) -> bool:
    from ray._raylet import GcsClient
    from ray.core.generated import autoscaler_pb2

    deadline = int((time.time() + seconds) * 1000)
    accepted, _ = GcsClient(address=address).drain_node(
        node.node_id,
        autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
        "taken back",
        deadline,
    )
    return accepted


if __name__ == "__main__":
    hold()
