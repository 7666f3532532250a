"""Google Compute Engine by ``ray up``: an on-demand head, spot workers and a service account.

No key is sent: nodes act as ``service_account``. The store is accessed by S3. A bucket of Google
Cloud Storage is accessed by its S3 interoperability, with
``AWS_ENDPOINT_URL=https://storage.googleapis.com`` and HMAC keys, which the machine image must hold
(``~/.aws``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster import _idle_shutdown
from cluster._cloud import NODE_DIRECTORY, Cloud

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True)
class Gcp(Cloud):
    """``segprint up gcp``, then ``segprint submit gcp SPACE``, and ``segprint down gcp``."""

    project: str = "my-project"
    region: str = "us-central1"
    zone: str = "us-central1-a"
    service_account: str = "segprint"
    accelerator: str = "nvidia-l4"

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("project", "region", "zone", "service_account", "accelerator"):
            if not getattr(self, what):
                raise ValueError(f"Gcp: {what} must not be empty")
        if not self.zone.startswith(f"{self.region}-"):
            raise ValueError(f"Gcp: zone={self.zone!r} must be in region={self.region!r}")

    @property
    def _machines(self) -> tuple[str, str]:
        return "n2-standard-4", "g2-standard-8" if self.gpus else "n2-standard-8"

    def config(self) -> dict[str, Any]:
        client = "google-api-python-client>=2,<3"  # Ray starts and ends machines with it
        return {
            **super().config(),
            "head_setup_commands": [f"{NODE_DIRECTORY}/venv/bin/pip install -q '{client}'"],
        }

    @property
    def _end(self) -> str:
        return _idle_shutdown.DELETE

    def _provider(self) -> dict[str, Any]:
        return {
            "type": "gcp",
            "region": self.region,
            "availability_zone": self.zone,
            "project_id": self.project,
        }

    def _machine(self, kind: str, spot: bool) -> dict[str, Any]:
        image = self.image or "projects/deeplearning-platform-release/global/images/family/"
        image += "" if self.image else "common-cu128-ubuntu-2404-nvidia-570"
        account = f"{self.service_account}@{self.project}.iam.gserviceaccount.com"
        type_ = f"zones/{self.zone}/acceleratorTypes/{self.accelerator}"
        gpus = [{"acceleratorType": type_, "acceleratorCount": self.gpus}]
        is_worker_with_gpus = bool(self.gpus) and kind != (self.head or self._machines[0])
        return {
            "machineType": kind,
            "disks": [
                {
                    "boot": True,
                    "autoDelete": True,
                    "type": "PERSISTENT",
                    "initializeParams": {"diskSizeGb": str(self.disk), "sourceImage": image},
                }
            ],
            "serviceAccounts": [{"email": account, "scopes": [SCOPE]}],
            "labels": {"segprint": self.name},
            **({"guestAccelerators": gpus} if is_worker_with_gpus else {}),
            "scheduling": {
                # A machine with a GPU cannot migrate, and a preempted one does not restart.
                "onHostMaintenance": "TERMINATE",
                "automaticRestart": False,
                # Google enforces this limit even if the machine does not respond.
                "maxRunDuration": {"seconds": str(round(3600 * self.hours))},
                "instanceTerminationAction": "DELETE",
                "provisioningModel": "SPOT" if spot else "STANDARD",
            },
        }
