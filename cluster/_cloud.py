"""What the clouds share: a config for ``ray up`` with a head that stays and spot workers.

Everything goes through SSH: the dashboard listens on loopback of the head, and is looked at by
``ray dashboard CONFIG``. The token is a file that ``ray up`` copies, its content in no config.
"""

from __future__ import annotations

import abc
import shlex
from dataclasses import dataclass
from typing import Any

from cluster import WORKERS, Command, Job, Remote, _idle_shutdown

CONFIG = "cluster.yaml"
WATCH = "watch.sh"
TOKEN = "token"  # noqa: S105  (the file's name)
AT = "~/segprint"
"""Where the source, its environment and caches are on every node."""
DASHBOARD = "http://127.0.0.1:8265"
"""Of the head, on the head."""
AUTH = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/segprint-token RAY_USAGE_STATS_ENABLED=0"


@dataclass(frozen=True)
class Cloud(Remote, abc.ABC):
    """``segprint up`` starts it, ``submit`` hands over studies, ``down`` ends it."""

    spot: bool = True
    """Workers from the spot market; the head never is."""
    idle_minutes: int = 10
    """After so long without work, a worker is given back."""
    stop_minutes: int = 60
    """After so long without any job, the head ends as well."""
    head: str = ""
    """Machine type of the head (default: the kind's)."""
    worker: str = ""
    """Machine type of the workers (default: the kind's)."""
    image: str = ""
    """Machine image of the workers and the head (default: Ray's own choice)."""
    disk: int = 200
    """GiB of each node."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for what, least in (("idle_minutes", 1), ("disk", 50)):
            if getattr(self, what) < least:
                kind, value = type(self).__name__, getattr(self, what)
                raise ValueError(f"{kind}: {what}={value} must be at least {least}")
        if self.stop_minutes <= self.idle_minutes:
            raise ValueError(
                f"{type(self).__name__}: stop_minutes={self.stop_minutes} must be above"
                f" idle_minutes={self.idle_minutes}: workers go before the head"
            )

    @property
    def needs_token(self) -> bool:
        return True

    @abc.abstractmethod
    def _provider(self) -> dict[str, Any]:
        """The config's ``provider``."""

    @abc.abstractmethod
    def _machine(self, kind: str, spot: bool) -> dict[str, Any]:
        """The config of one node; safe by itself."""

    @property
    @abc.abstractmethod
    def _machines(self) -> tuple[str, str]:
        """Default machine types, head and worker."""

    @property
    @abc.abstractmethod
    def _end(self) -> str:
        """The lines of shell by which a machine ends itself for good."""

    def files(self, job: Job | None = None) -> dict[str, str]:
        import yaml

        return {
            CONFIG: yaml.safe_dump(self.config(), sort_keys=False, width=1000),
            WATCH: _idle_shutdown.script(self._end, DASHBOARD),
        }

    def config(self) -> dict[str, Any]:
        """What ``ray up`` reads, after the schema that Ray ships."""
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
                f"{AT}/source": "source",
                "~/segprint-token": TOKEN,
                "~/segprint-watch": WATCH,
            },
            "rsync_exclude": ["**/.git", "**/.venv"],
            "setup_commands": self._setup(),
            "head_start_ray_commands": self._start(
                "--head --port=6379 --dashboard-host=127.0.0.1 --dashboard-port=8265"
                ' --autoscaling-config="$HOME"/ray_bootstrap_config.yaml',
                _idle_shutdown.started("head", self.stop_minutes),
            ),
            "worker_start_ray_commands": self._start(
                '--address="$RAY_HEAD_IP":6379', _idle_shutdown.started("worker", self.idle_minutes)
            ),
        }

    def _setup(self) -> list[str]:
        minutes = max(1, round(60 * self.hours))
        return [
            # The limit holds even where this machine, Ray or the network is gone.
            f"sudo shutdown -h +{minutes}",
            f"chmod 600 ~/segprint-token && mkdir -p {AT}/cache",
            f"test -x {AT}/venv/bin/python || python3 -m venv {AT}/venv",
            f"cd {AT}/source && ../venv/bin/pip install -q -c constraints.txt .",
        ]

    def _start(self, options: str, watch: str) -> list[str]:
        plain = {"SEGPRINT_CACHE": "$HOME/segprint/cache", WORKERS: self.shape} | dict(self.env)
        env = " ".join(f'{k}="{v}"' for k, v in plain.items())
        return [
            f"{AT}/venv/bin/ray stop",
            f"ulimit -n 65536; {AUTH} {env} {AT}/venv/bin/ray start {options}",
            f"cd {AT}/source || exit 1; export {AUTH}; {watch}",
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
        copied = ("ray", "rsync-up", CONFIG, "source/", f"{AT}/source/")
        return [copied, ("ray", "exec", CONFIG, self._on_head(job.submit))]

    def logs(self, job: Job) -> list[Command]:
        return [("ray", "exec", CONFIG, self._on_head(job.logs))]

    def _on_head(self, words: Command, address: str = DASHBOARD) -> str:
        where = f"cd {AT}/source && RAY_ADDRESS={address} {AUTH}"
        return f"{where} ../venv/bin/python {shlex.join(words)}"
