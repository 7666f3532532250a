"""A cluster of machines that ``ray up`` starts in a cloud: an on-demand head and spot workers.

All access is by SSH: the dashboard listens on the head's loopback interface, and ``ray dashboard
CONFIG`` forwards it. The token is a file that ``ray up`` copies; no config contains it.
"""

from __future__ import annotations

import abc
import shlex
from dataclasses import dataclass
from typing import Any

from cluster import _idle_shutdown
from cluster._kinds import WORKERS, Command, Job, Remote

CONFIG = "cluster.yaml"
WATCH = "watch.sh"
TOKEN = "token"  # noqa: S105  (the file's name)
NODE_DIRECTORY = "~/segprint"
"""The directory on every node for the source, its environment and caches."""
DASHBOARD = "http://127.0.0.1:8265"
"""The address of the head's dashboard on the head itself."""
AUTH = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/segprint-token RAY_USAGE_STATS_ENABLED=0"


@dataclass(frozen=True)
class Cloud(Remote, abc.ABC):
    """``segprint up`` starts it, ``submit`` submits studies to it, ``down`` ends it."""

    spot: bool = True
    """Whether workers are spot instances; the head never is one."""
    idle_minutes: int = 10
    """A worker without work ends after so many minutes."""
    stop_minutes: int = 60
    """The head ends after so many minutes without a job."""
    head: str = ""
    """The head's machine type (default: that of the kind of cloud)."""
    worker: str = ""
    """The workers' machine type (default: that of the kind of cloud)."""
    image: str = ""
    """The machine image of all nodes (default: that of the kind of cloud)."""
    disk: int = 200
    """GiB of disk per node."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for what, least in (("idle_minutes", 1), ("disk", 50)):
            if getattr(self, what) < least:
                kind, value = type(self).__name__, getattr(self, what)
                raise ValueError(f"{kind}: {what}={value} must be at least {least}")
        if self.stop_minutes <= self.idle_minutes:
            raise ValueError(
                f"{type(self).__name__}: stop_minutes={self.stop_minutes} must be above"
                f" idle_minutes={self.idle_minutes}: workers must end before the head"
            )

    @property
    def needs_token(self) -> bool:
        return True

    @abc.abstractmethod
    def _provider(self) -> dict[str, Any]:
        """Return the config's ``provider``."""

    @abc.abstractmethod
    def _machine(self, kind: str, spot: bool) -> dict[str, Any]:
        """Return the provider's config of one node, with restricted access."""

    @property
    @abc.abstractmethod
    def _machines(self) -> tuple[str, str]:
        """The default machine types: (head, worker)."""

    @property
    @abc.abstractmethod
    def _end(self) -> str:
        """The shell commands with which a machine terminates itself."""

    def files(self, job: Job | None = None) -> dict[str, str]:
        import yaml

        return {
            CONFIG: yaml.safe_dump(self.config(), sort_keys=False, width=1000),
            WATCH: _idle_shutdown.script(self._end, DASHBOARD),
        }

    def config(self) -> dict[str, Any]:
        """Return the config of ``ray up``, which satisfies the schema in the Ray package."""
        head, worker = self.head or self._machines[0], self.worker or self._machines[1]
        return {
            "cluster_name": self.name,
            "max_workers": self.nodes,
            "idle_timeout_minutes": self.idle_minutes,
            "provider": self._provider(),
            "auth": {"ssh_user": "ubuntu"},
            "head_node_type": "head",
            "available_node_types": {
                "head": {
                    "resources": {"CPU": 0, "GPU": 0},  # drivers only
                    "max_workers": 0,
                    "node_config": self._machine(head, spot=False),
                },
                "worker": {
                    "resources": {"CPU": self.cpus, "GPU": self.gpus},
                    "min_workers": 0,
                    "max_workers": self.nodes,
                    "node_config": self._machine(worker, spot=self.spot),
                },
            },
            "file_mounts": {
                f"{NODE_DIRECTORY}/source": "source",
                "~/segprint-token": TOKEN,
                "~/segprint-watch": WATCH,
            },
            "rsync_exclude": ["**/.git", "**/.venv"],
            "setup_commands": self._setup(),
            "head_start_ray_commands": self._start(
                "--head --port=6379 --dashboard-host=127.0.0.1 --dashboard-port=8265"
                ' --autoscaling-config="$HOME"/ray_bootstrap_config.yaml',
                _idle_shutdown.start_command("head", self.stop_minutes),
            ),
            "worker_start_ray_commands": self._start(
                '--address="$RAY_HEAD_IP":6379',
                _idle_shutdown.start_command("worker", self.idle_minutes),
            ),
        }

    def _setup(self) -> list[str]:
        minutes = max(1, round(60 * self.hours))
        return [
            # This time limit holds even if the submitting machine, Ray or the network fails.
            f"sudo shutdown -h +{minutes}",
            f"chmod 600 ~/segprint-token && mkdir -p {NODE_DIRECTORY}/cache",
            f"test -x {NODE_DIRECTORY}/venv/bin/python || python3 -m venv {NODE_DIRECTORY}/venv",
            f"cd {NODE_DIRECTORY}/source && ../venv/bin/pip install -q -c constraints.txt .",
        ]

    def _start(self, options: str, watch: str) -> list[str]:
        plain = {"SEGPRINT_CACHE": "$HOME/segprint/cache", WORKERS: self.shape} | dict(self.env)
        env = " ".join(f'{k}="{v}"' for k, v in plain.items())
        return [
            f"{NODE_DIRECTORY}/venv/bin/ray stop",
            f"ulimit -n 65536; {AUTH} {env} {NODE_DIRECTORY}/venv/bin/ray start {options}",
            f"cd {NODE_DIRECTORY}/source || exit 1; export {AUTH}; {watch}",
        ]

    def up(self) -> list[Command]:
        return [("ray", "up", "--yes", "--no-config-cache", CONFIG)]

    def down(self) -> list[Command]:
        return [("ray", "down", "--yes", CONFIG)]

    def status(self) -> list[Command]:
        listed = self._on_head(("-m", "cluster._jobs", DASHBOARD))
        machines = self._on_head(("-m", "ray.scripts.scripts", "status"), "auto")
        return [("ray", "exec", CONFIG, machines), ("ray", "exec", CONFIG, listed)]

    def submit(self, job: Job) -> list[Command]:
        copied = ("ray", "rsync-up", CONFIG, "source/", f"{NODE_DIRECTORY}/source/")
        return [copied, ("ray", "exec", CONFIG, self._on_head(job.submit))]

    def logs(self, job: Job) -> list[Command]:
        return [("ray", "exec", CONFIG, self._on_head(job.logs))]

    def _on_head(self, arguments: Command, address: str = DASHBOARD) -> str:
        """Return the shell command that runs Python on the head."""
        environment = f"cd {NODE_DIRECTORY}/source && RAY_ADDRESS={address} {AUTH}"
        return f"{environment} ../venv/bin/python {shlex.join(arguments)}"
