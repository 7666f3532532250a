"""Ray Jobs: a driver on the cluster's head, which continues when this machine is switched off.

Everyone with access to the cluster can read what Ray records of a job: the command and the hash of
the source. The store's credentials are in the environment of the cluster's processes only.

Ray's client has no types, so this module converts its objects to :class:`Entry`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import shlex
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cluster._kinds import Job

START_SECONDS = 60.0
"""The time in which a new head begins to accept jobs."""
TIMEOUT_SECONDS = 15.0
"""The longest wait for an answer of the dashboard; Ray itself would wait indefinitely."""
PREFIX = "segprint-"
USED = ("CPU", "GPU", "memory")
"""Resources whose use is reported."""
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class Entry(NamedTuple):
    """A node of a cluster, or a study that was submitted to it."""

    what: str
    """``node`` or ``study``."""
    name: str
    state: str
    about: str
    """Details for people."""


def identity(job: Job) -> str:
    """Return the id of the submission: equal work has an equal id, so it is submitted once."""
    digest = hashlib.sha256("\0".join(job.run).encode()).hexdigest()[:8]
    return f"{PREFIX}{job.label}-{digest}"


def entrypoint(job: Job) -> str:
    """Return the command that the head runs."""
    return f"python {shlex.join(job.run)}"


def submit(url: str, job: Job, source: Path) -> bool:
    """Submit a job that runs from a copy of the source; return False if it is already running.

    A job that ended, with or without success, is submitted again; the driver skips committed
    trials.

    Raises:
        ConnectionError: there is no cluster, or it refuses this client.
    """
    client, name = _client(url), identity(job)
    with _as_connection_errors(url):
        states = {known.submission_id: known.status for known in client.list_jobs()}
        if name in states:
            if states[name] not in ENDED:
                return False
            client.delete_job(name)
        _submit(client, name, job, source)
    return True


def start(url: str, job: Job, patience: float = START_SECONDS) -> str:
    """Wait until the driver of a submitted job runs; return why it does not, or an empty text.

    Ray leaves a job pending for as long as the head cannot start its driver.
    """
    client, name = _client(url), identity(job)
    deadline = time.monotonic() + patience
    with _as_connection_errors(url):
        while (state := client.get_job_status(name)) == "PENDING":
            if time.monotonic() > deadline:
                return _pending(url, client, name)
            time.sleep(0.5)
        if state != "FAILED":
            return ""
        message = " ".join((client.get_job_info(name).message or "").split())
    return f"its driver failed: {message[:500]}"


def _pending(url: str, client: Any, name: str) -> str:
    """Return what a driver that does not start needs, and what the cluster has."""
    nodes = [entry for entry in state(url) if entry.what == "node"]
    offered = "; ".join(f"{node.name} {node.state}: {node.about}" for node in nodes)
    free: dict[str, list[float]] = {}
    with contextlib.suppress(KeyError, TypeError, ValueError):
        answer = client._do_request("GET", "/api/cluster_status").json()
        free = answer["data"]["clusterStatus"]["loadMetricsReport"]["usage"] or {}
    used = ", ".join(f"{a:g} of {b:g} {kind}" for kind, (a, b) in free.items() if kind in USED)
    return (
        f"its driver has not started: it needs a process on the head, with memory for Python and"
        f" its packages, and no CPU or GPU; the cluster has {offered or 'no node'}"
        f"{f'; in use: {used}' if used else ''}. It stays submitted and starts when it can;"
        f" ray job stop {name} ends it"
    )


def _submit(client: Any, name: str, job: Job, source: Path) -> None:
    """Submit, and retry while a head that has just started accepts no jobs."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            client.submit_job(
                entrypoint=entrypoint(job),
                submission_id=name,
                runtime_env={"working_dir": str(source)},
            )
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


def logs(url: str, job: Job) -> int:
    """Follow the output of a job on stdout; return 0 if it succeeded, else 1."""
    client, name = _client(url), identity(job)

    async def follow() -> None:
        async for lines in client.tail_job_logs(name):
            print(lines, end="", flush=True)

    with _as_connection_errors(url):
        listed = {str(known.submission_id) for known in client.list_jobs()}
        if name not in listed:
            raise ConnectionError(_no_job(name, listed))
        asyncio.run(follow())
        return 0 if client.get_job_status(name) == "SUCCEEDED" else 1


def _no_job(name: str, listed: set[str]) -> str:
    """Return that there is no such job, and which jobs of the same study there are."""
    alike = sorted(other for other in listed if other.rpartition("-")[0] == name.rpartition("-")[0])
    if not alike:
        return f"there is no job {name}: submit the study first"
    return (
        f"there is no job {name}, but {', '.join(alike)} of the same study: it was submitted with"
        " another --store, --as or --most, or from another file"
    )


def state(url: str) -> list[Entry]:
    """Return the nodes, head first, and the submitted studies, latest first.

    Raises:
        ConnectionError: there is no cluster, or it refuses this client.
    """
    client = _client(url)
    from ray.util.state import list_nodes

    with _as_connection_errors(url):
        nodes: list[Any] = list_nodes(address=url, timeout=round(TIMEOUT_SECONDS))
        jobs = [job for job in client.list_jobs() if (job.submission_id or "").startswith(PREFIX)]
    return [
        *(_node(node) for node in sorted(nodes, key=lambda node: not node.is_head_node)),
        *(_study(job) for job in sorted(jobs, key=lambda job: -(job.start_time or 0))),
    ]


def nodes_text(url: str) -> str:
    """Return what the dashboard says about its nodes, as JSON."""
    client = _client(url)
    with _as_connection_errors(url):
        return str(client._do_request("GET", "/nodes?view=summary").text)


def busy(url: str) -> bool:
    """Return whether the cluster runs or has queued any job, of any user."""
    client = _client(url)
    with _as_connection_errors(url):
        return any(job.status not in ENDED for job in client.list_jobs())


def _node(node: Any) -> Entry:
    resources = {kind: node.resources_total.get(kind, 0.0) for kind in ("CPU", "GPU")}
    listed = ", ".join(f"{count:g} {kind}" for kind, count in resources.items())
    message = f": {node.state_message}" if node.state_message else ""
    role = "head, " if node.is_head_node else ""
    return Entry("node", str(node.node_ip), str(node.state), f"{role}{listed}{message}")


def _study(job: Any) -> Entry:
    """Return the entry of a study, with Ray's message if it ended."""
    submitted = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((job.start_time or 0) / 1000))
    name = job.submission_id.removeprefix(PREFIX).rpartition("-")[0]
    message = " ".join((job.message or "").split()) if job.status in ENDED else ""
    about = f"{job.submission_id}, submitted {submitted}{f': {message}' if message else ''}"
    return Entry("study", name, str(job.status), about)


def lines(entries: Sequence[Entry]) -> list[str]:
    """Return a line per entry, in the format of :meth:`Remote.status`."""
    return [" ".join(entry) for entry in entries]


def check_dashboard(url: str) -> None:
    """Raise ConnectionError unless a Ray dashboard answers.

    Ray's client would block on a server that accepts connections and does not answer.
    """
    request = urllib.request.Request(f"{url.rstrip('/')}/api/version")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            json.load(answer)["ray_version"]
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):  # it requires a token, which Ray's client sends
            status = f"{error.code} {error.reason}"
            raise ConnectionError(f"{url} is no Ray dashboard: it answers {status}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConnectionError(f"{url} is no Ray dashboard: another server answers") from error
    except OSError as error:  # refused, no such host, no answer
        reason = getattr(error, "reason", error)
        raise ConnectionError(
            f"no Ray Jobs at {url}: {reason}; is RAY_ADDRESS right, and its SSH tunnel"
            " (ssh -L) open?"
        ) from error


def _client(url: str) -> Any:
    """Return a client if both sides run the same Ray; Ray itself only requires 1.9."""
    check_dashboard(url)
    # Ray reads a token if this is set, or if there is a file at its default path.
    if any(os.environ.get(k) for k in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ["RAY_ADDRESS"] = url  # Ray's clients prefer it to the address that they are given
    import ray
    from ray.job_submission import JobSubmissionClient

    with _as_connection_errors(url):
        client: Any = JobSubmissionClient(url)
        for module in (
            "ray",
            "ray.dashboard.modules.dashboard_sdk",
            JobSubmissionClient.__module__,
        ):
            logging.getLogger(module).setLevel(logging.WARNING)
        theirs = str(client._server_ray_version)
    ours = ray.__version__
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise ConnectionError(
            f"the cluster at {url} runs Ray {theirs}, this environment has Ray {ours}: both must"
            f" be the same: pip install 'ray=={theirs}' here, or the cluster with constraints.txt"
        )
    return client


@contextmanager
def _as_connection_errors(url: str) -> Generator[None]:
    """Raise Ray's errors as a ConnectionError of one line that states the remedy."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ConnectionError(
            f"the cluster at {url} does not take the token, or there is none: set RAY_AUTH_MODE="
            "token, and RAY_AUTH_TOKEN_PATH to the file of the cluster's token"
        ) from error
    except ConnectionError as error:
        reason = " ".join(str(error).split())
        raise ConnectionError(f"no Ray Jobs at {url}: {reason}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ConnectionError(f"the cluster at {url} refuses: {reason}") from error


if __name__ == "__main__":
    if sys.argv[2:] == ["busy"]:
        sys.exit(0 if busy(sys.argv[1]) else 1)
    print("\n".join(lines(state(sys.argv[1]))))
