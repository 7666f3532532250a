"""Google Compute Engine by ``ray up``: a head that stays, spot workers, a service account.

No key is sent: nodes act as ``service_account``. The store is S3 wherever it is; for a bucket of
Google's, its S3 interoperability at ``AWS_ENDPOINT_URL=https://storage.googleapis.com`` needs keys,
which the nodes must find by themselves (``~/.aws`` on the machine image).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster import _idle_shutdown
from cluster._cloud import AT, Cloud

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
        client = "google-api-python-client>=2,<3"  # what Ray starts and ends machines with
        return {
            **super().config(),
            "head_setup_commands": [f"{AT}/venv/bin/pip install -q '{client}'"],
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
                # A GPU cannot move to another host, and neither can what the market takes back.
                "onHostMaintenance": "TERMINATE",
                "automaticRestart": False,
                # Google's own limit, where nothing inside the machine works any more.
                "maxRunDuration": {"seconds": str(round(3600 * self.hours))},
                "instanceTerminationAction": "DELETE",
                "provisioningModel": "SPOT" if spot else "STANDARD",
            },
        }
