"""The machines of a cloud end by themselves: the head without a job, a worker without a head.

Ray's autoscaler gives idle workers back, and never the head; and where the head is gone, nobody
gives workers back. So each machine runs this script beside Ray.
"""

from __future__ import annotations

SCRIPT = r"""#!/bin/bash
# Usage: watch.sh head|worker MINUTES; ends this machine after so long without work.
set -u
role=$1 minutes=$2

busy() {{
  case "$role" in
    head) ../venv/bin/python -m cluster._jobs {dashboard} busy ;;
    *) pgrep -x raylet > /dev/null ;;  # it ends when the head does
  esac
}}

end() {{
{end}
}}

idle=0
while [ "$idle" -lt "$minutes" ]; do
  sleep 60
  if busy; then idle=0; else idle=$((idle + 1)); fi
done
echo "no work for $minutes minutes: this $role ends"
end
"""
SHUTDOWN = "  sudo shutdown -h now"
"""Where the machine was made so that this deletes it."""
DELETE = r"""  local about=http://metadata.google.internal/computeMetadata/v1/instance
  ask() { curl -sf -H Metadata-Flavor:Google "$about/$1"; }
  local said='"Authorization: Bearer " + json.load(sys.stdin)["access_token"]'
  ask service-accounts/default/token | python3 -c "import json, sys; print($said)" \
    | curl -sf -X DELETE --header @- \
    "https://compute.googleapis.com/compute/v1/$(ask zone)/instances/$(ask name)"
  sudo shutdown -h now  # a stopped one still pays for its disk"""
"""Google's machines delete themselves by its API, with the rights by which the head makes workers;
the token stays out of the list of processes."""


def script(end: str, dashboard: str) -> str:
    """The script, with the lines that end a machine of that cloud."""
    return SCRIPT.format(end=end, dashboard=dashboard)


def started(role: str, minutes: int) -> str:
    """The command that starts it, once, from the directory of the source, and returns.

    It is no list joined by ``&&``: then SSH would wait for the shell around it.
    """
    once = f"flock --nonblock ~/.segprint-watch bash ~/segprint-watch {role} {minutes}"
    return f"setsid nohup {once} > ~/segprint-watch.log 2>&1 < /dev/null &"
