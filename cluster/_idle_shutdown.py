"""The script with which an idle cloud machine terminates itself.

Ray's autoscaler ends idle workers but never the head, and without a head nothing ends the workers.
So every machine runs this script: the head ends without a job, a worker without a head.
"""

from __future__ import annotations

SCRIPT = r"""#!/bin/bash
# Usage: watch.sh head|worker MINUTES. Ends this machine after MINUTES without work.
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
"""Terminates a machine whose shutdown behaviour is termination."""
DELETE = r"""  local about=http://metadata.google.internal/computeMetadata/v1/instance
  ask() { curl -sf -H Metadata-Flavor:Google "$about/$1"; }
  local said='"Authorization: Bearer " + json.load(sys.stdin)["access_token"]'
  ask service-accounts/default/token | python3 -c "import json, sys; print($said)" \
    | curl -sf -X DELETE --header @- \
    "https://compute.googleapis.com/compute/v1/$(ask zone)/instances/$(ask name)"
  sudo shutdown -h now  # a stopped one still pays for its disk"""
"""Deletes a Google machine by the API, with the rights with which the head creates workers.

The token is passed by a pipe and does not appear in the list of processes."""


def script(end: str, dashboard: str) -> str:
    """Return the script; ``end`` holds the shell commands that terminate the machine."""
    return SCRIPT.format(end=end, dashboard=dashboard)


def start_command(role: str, minutes: int) -> str:
    """Return the command that starts the script in the background, at most once per machine.

    It is to be run in the directory of the source. It must not be part of a list joined by ``&&``,
    or SSH would wait for the enclosing shell.
    """
    once = f"flock --nonblock ~/.segprint-watch bash ~/segprint-watch {role} {minutes}"
    return f"setsid nohup {once} > ~/segprint-watch.log 2>&1 < /dev/null &"
