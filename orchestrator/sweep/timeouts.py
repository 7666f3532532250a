"""Time limits of a sweep."""

from __future__ import annotations

from trainables.runtime.heartbeat import EVERY_SECONDS

STORE_SECONDS = 900.0
"""A sweep waits this long for an unreachable store before a trial fails."""
SILENCE_SECONDS = 900.0
"""A trial without a sign of life for this long is killed and retried."""
COLLECTIVE_SHARE = 2 / 3
"""A worker waits for the other workers of its trial for this share of the limit on silence: its
failure, which says who did not answer, is recorded before the trial is killed for its silence."""
STARTING_SECONDS = 600.0
"""The workers of a trial may take at least this long to start; until then it has no lease. Ray's
own time-outs usually end a failed start much sooner."""
SHORTEST_SILENCE = 1.5 * EVERY_SECONDS
"""The smallest permitted ``--silence``: a healthy run gives a sign of life this often."""
WAIT_SECONDS = 600.0
"""A sweep waits this long for resources that the cluster has lost before it ends with an error."""
