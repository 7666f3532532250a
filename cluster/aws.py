"""Amazon EC2 by ``ray up``: an on-demand head, spot workers and an instance profile.

No key is sent: nodes act as the instance profile ``profile``, which must allow reading and writing
the store's bucket and, for the head, starting, tagging and ending instances. The local commands
use the usual AWS variables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster import _idle_shutdown
from cluster._cloud import Cloud


@dataclass(frozen=True)
class Aws(Cloud):
    """``segprint up aws``, then ``segprint submit aws SPACE``, and ``segprint down aws``."""

    region: str = "us-east-1"
    profile: str = "segprint"
    """The name of the instance profile of all nodes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("region", "profile"):
            if not getattr(self, what):
                raise ValueError(f"Aws: {what} must not be empty")

    @property
    def _machines(self) -> tuple[str, str]:
        return "m7i.xlarge", "g6.2xlarge" if self.gpus else "c7i.2xlarge"

    @property
    def _end(self) -> str:
        return _idle_shutdown.SHUTDOWN

    def _provider(self) -> dict[str, Any]:
        return {"type": "aws", "region": self.region, "cache_stopped_nodes": False}

    def _machine(self, kind: str, spot: bool) -> dict[str, Any]:
        disk = {"VolumeSize": self.disk, "VolumeType": "gp3", "Encrypted": True}
        tags = [{"Key": k, "Value": self.name} for k in ("segprint", "project")]
        return {
            "InstanceType": kind,
            **({"ImageId": self.image} if self.image else {}),
            "IamInstanceProfile": {"Name": self.profile},
            "InstanceInitiatedShutdownBehavior": "terminate",
            # Require version 2 of the metadata service, and exclude containers from it.
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": disk}],
            "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
            **({"InstanceMarketOptions": {"MarketType": "spot"}} if spot else {}),
        }
