"""Remedies for the error messages of Slurm, Kubernetes and the clouds."""

from __future__ import annotations

import re

REMEDIES = (
    (
        r"no matches for kind .Ray|could not find the requested resource",
        "Kubernetes does not know RayJob: install the KubeRay operator, 1.6 or later",
    ),
    (
        r'namespaces "[^"]*" not found',
        "create it with kubectl create namespace, or set namespace= in the description",
    ),
    (
        r"InsufficientInstanceCapacity|RESOURCE_POOL_EXHAUSTED|does not have enough resources",
        "the cloud has no free capacity: try later, or another region=, zone= or worker=",
    ),
    (
        r"(?i)quota|limit ?exceeded|CountExceeded|QOS|Assoc(Grp|Max)|exceeds some limit",
        "ask for less (nodes=, gpus=, cpus=, memory=, hours= of the description), wait until"
        " running jobs end, or have the quota raised",
    ),
    (
        r"(?i)invalid (partition|account)|invalid generic resource|node configuration is not avail",
        "sinfo lists what exists: set partition=, account=, gpus= and cpus= accordingly",
    ),
    (
        r"(?i)unauthorized|credentials|\(Forbidden\)|ExpiredToken|InvalidClientTokenId|PERMISSION_",
        "log in, or have the permission granted",
    ),
    (
        r"(?i)unable to (connect|contact)|connection refused|connect failure|timed? ?out",
        "check that this machine can reach the cluster",
    ),
)
"""(regular expression, remedy): the first expression that matches a line applies."""
MAX_LENGTH = 400
"""Characters of a line that are kept."""


def explained(output: str) -> str:
    r"""Return the line of a tool's output that states the error, with a remedy if one is known.

    >>> explained("sbatch: error: QOSMaxGRESPerUser\nsbatch: error: Batch job submission failed")
    ... # doctest: +ELLIPSIS
    'sbatch: error: QOSMaxGRESPerUser (ask for less (nodes=, ...'
    >>> explained("a line\nanother\n\n"), explained("")
    ('another', 'it printed nothing')
    """
    lines = [" ".join(line.split())[:MAX_LENGTH] for line in output.splitlines() if line.strip()]
    for pattern, remedy in REMEDIES:
        for line in reversed(lines):
            if re.search(pattern, line):
                return f"{line} ({remedy})"
    return lines[-1] if lines else "it printed nothing"
