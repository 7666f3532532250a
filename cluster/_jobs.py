"""Ray Jobs: a driver on the cluster's head, which goes on when this machine is switched off.

What Ray notes of a job, everyone with access to the cluster can read: it is the command, and the
hash of the source. The store's credentials are in the environment of the cluster's own processes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shlex
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import Job

START_SECONDS = 60.0
ANSWER_SECONDS = 15.0
"""A dashboard that says nothing for so long is taken for gone; Ray itself would wait for ever."""
PREFIX = "segprint-"
OVER = ("SUCCEEDED", "FAILED", "STOPPED")


def identity(job: Job) -> str:
    """The submission's name: the same for the same work, so that it is there once."""
    digest = hashlib.sha256("\0".join(job.run).encode()).hexdigest()[:8]
    return f"{PREFIX}{job.label}-{digest}"


def entrypoint(job: Job) -> str:
    """The command that the head runs."""
    return f"python {shlex.join(job.run)}"


def submit(url: str, job: Job, source: Path) -> bool:
    """Have the cluster run it from a copy of the source; False if it does so already.

    A job that ended, whichever way, is handed over again: the driver knows what is done.

    Raises:
        ConnectionError: there is no cluster, or it does not take this client.
    """
    client, name = _client(url), identity(job)
    with _plainly(url):
        known = {found.submission_id: found.status for found in client.list_jobs()}
        if name in known:
            if known[name] not in OVER:
                return False
            client.delete_job(name)
        _hand_over(client, name, job, source)
    return True


def _hand_over(client: Any, name: str, job: Job, source: Path) -> None:
    """Submit; a head that has just started takes no job yet."""
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
    """Print what a job printed, and what it goes on to print; 0 if it ended well."""
    client, name = _client(url), identity(job)

    async def follow() -> None:
        async for lines in client.tail_job_logs(name):
            print(lines, end="", flush=True)

    with _plainly(url):
        if name not in {found.submission_id for found in client.list_jobs()}:
            raise ConnectionError(f"{url} knows no job {name}: submit the study first")
        asyncio.run(follow())
        return 0 if client.get_job_status(name) == "SUCCEEDED" else 1


def state(url: str) -> list[dict[str, Any]]:
    """Its nodes, the head first, and the studies that were submitted, the last first.

    ``what`` is ``node`` or ``study``, with ``name``, ``state``, and ``about`` in words.

    Raises:
        ConnectionError: there is no cluster, or it does not take this client.
    """
    client = _client(url)
    from ray.util.state import list_nodes

    with _plainly(url):
        nodes: list[Any] = list_nodes(address=url, timeout=round(ANSWER_SECONDS))
        jobs = [job for job in client.list_jobs() if (job.submission_id or "").startswith(PREFIX)]
    return [
        *(_node(node) for node in sorted(nodes, key=lambda node: not node.is_head_node)),
        *(_study(job) for job in sorted(jobs, key=lambda job: -(job.start_time or 0))),
    ]


def busy(url: str) -> bool:
    """Whether it runs any job, or has one waiting, of whomever."""
    client = _client(url)
    with _plainly(url):
        return any(job.status not in OVER for job in client.list_jobs())


def _node(node: Any) -> dict[str, Any]:
    has = {kind: node.resources_total.get(kind, 0.0) for kind in ("CPU", "GPU")}
    about = ", ".join(f"{count:g} {kind}" for kind, count in has.items())
    why = f": {node.state_message}" if node.state_message else ""
    role = "head, " if node.is_head_node else ""
    return {
        "what": "node",
        "name": node.node_ip,
        "state": node.state,
        "about": f"{role}{about}{why}",
    }


def _study(job: Any) -> dict[str, Any]:
    """One that is over says with what Ray ended it."""
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((job.start_time or 0) / 1000))
    name = job.submission_id.removeprefix(PREFIX).rpartition("-")[0]
    why = " ".join((job.message or "").split()) if job.status in OVER else ""
    about = f"{job.submission_id}, submitted {began}{f': {why}' if why else ''}"
    return {"what": "study", "name": name, "state": str(job.status), "about": about}


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The same, one line each, as every cluster's :meth:`Remote.status` has its studies."""
    return ["{what} {name} {state} {about}".format(**row) for row in rows]


def _answers(url: str) -> None:
    """Raise where nobody answers: a port that takes connections and is silent would block Ray."""
    request = urllib.request.Request(f"{url.rstrip('/')}/api/version")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
            json.load(answer)["ray_version"]
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):  # it wants a token, which Ray's client brings
            said = f"{error.code} {error.reason}"
            raise ConnectionError(f"{url} is no Ray dashboard: it says {said}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConnectionError(f"{url} is no Ray dashboard: another server is there") from error
    except OSError as error:  # refused, no such host, no answer
        why = getattr(error, "reason", error)
        raise ConnectionError(
            f"no Ray Jobs at {url}: {why}; is RAY_ADDRESS right, and ssh -L to it open?"
        ) from error


def _client(url: str) -> Any:
    """A client of the same Ray as the cluster's; Ray's own check asks for 1.9 only."""
    _answers(url)
    # Ray looks for a token where this says so, or where there is a file at its usual place.
    if any(os.environ.get(k) for k in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray
    from ray.job_submission import JobSubmissionClient

    with _plainly(url):
        client: Any = JobSubmissionClient(url)
        logging.getLogger("ray").setLevel(logging.WARNING)
        theirs = str(client._server_ray_version)
    ours = ray.__version__
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise ConnectionError(
            f"the cluster at {url} runs Ray {theirs}, this environment has Ray {ours}: both must"
            f" be the same: pip install 'ray=={theirs}' here, or the cluster with constraints.txt"
        )
    return client


@contextmanager
def _plainly(url: str) -> Generator[None]:
    """What Ray raises, as one line that says what to do."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ConnectionError(
            f"the cluster at {url} does not take the token, or there is none: set RAY_AUTH_MODE="
            "token and RAY_AUTH_TOKEN_PATH to the file with the cluster's own"
        ) from error
    except ConnectionError as error:
        said = " ".join(str(error).split())
        raise ConnectionError(f"no Ray Jobs at {url}: {said}") from error
    except RuntimeError as error:
        said = " ".join(str(error).split())[:300]
        raise ConnectionError(f"the cluster at {url} refuses: {said}") from error


if __name__ == "__main__":
    if sys.argv[2:] == ["busy"]:
        sys.exit(0 if busy(sys.argv[1]) else 1)
    print("\n".join(lines(state(sys.argv[1]))))
