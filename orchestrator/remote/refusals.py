"""What the tools of Slurm, Kubernetes and the clouds say when they refuse, and what cures it."""

from __future__ import annotations

import re

CURES = (
    (
        r"no matches for kind .Ray|could not find the requested resource",
        "Kubernetes does not know RayJob: install the KubeRay operator, 1.6 or later",
    ),
    (
        r'namespaces "[^"]*" not found',
        "kubectl create namespace, or say namespace= in the description",
    ),
    (
        r"InsufficientInstanceCapacity|RESOURCE_POOL_EXHAUSTED|does not have enough resources",
        "the cloud has none free now: try later, or another region=, zone= or worker=",
    ),
    (
        r"(?i)quota|limit ?exceeded|CountExceeded|QOS|Assoc(Grp|Max)|exceeds some limit",
        "ask for less (nodes=, gpus=, cpus=, memory=, hours= of the description), wait until what"
        " runs there has ended, or have the quota raised",
    ),
    (
        r"(?i)invalid (partition|account)|invalid generic resource|node configuration is not avail",
        "see sinfo for what there is, and say partition=, account=, gpus=, cpus= accordingly",
    ),
    (
        r"(?i)unauthorized|credentials|\(Forbidden\)|ExpiredToken|InvalidClientTokenId|PERMISSION_",
        "log in there, or have the right given to you",
    ),
    (
        r"(?i)unable to (connect|contact)|connection refused|connect failure|timed? ?out",
        "is the machine right that this is run on, and the way there open?",
    ),
)
"""Of what is said, by a regular expression; the first that fits counts."""
LONGEST = 400


def explained(said: str) -> str:
    r"""The line that says why, of all that a tool printed, and what can be done about it.

    >>> explained("sbatch: error: QOSMaxGRESPerUser\nsbatch: error: Batch job submission failed")
    ... # doctest: +ELLIPSIS
    'sbatch: error: QOSMaxGRESPerUser (ask for less (nodes=, ...'
    >>> explained("a word\nanother\n\n"), explained("")
    ('another', 'it said nothing')
    """
    lines = [" ".join(line.split())[:LONGEST] for line in said.splitlines() if line.strip()]
    for pattern, cure in CURES:
        for line in reversed(lines):
            if re.search(pattern, line):
                return f"{line} ({cure})"
    return lines[-1] if lines else "it said nothing"
