"""Ray Jobs: a driver on the cluster's head, which goes on when this machine is switched off.

What Ray notes of a job, everyone with access to the cluster can read: it is the command, and the
hash of the source. The store's credentials are in the environment of the cluster's own processes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shlex
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import Job

START_SECONDS = 60.0
OVER = ("SUCCEEDED", "FAILED", "STOPPED")


def identity(job: Job) -> str:
    """The submission's name: the same for the same work, so that it is there once."""
    digest = hashlib.sha256("\0".join(job.run).encode()).hexdigest()[:8]
    return f"segprint-{job.label}-{digest}"


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


def _client(url: str) -> Any:
    """A client of the same Ray as the cluster's; Ray's own check asks for 1.9 only."""
    # Ray looks for a token where this says so, or where there is a file at its usual place.
    if any(os.environ.get(k) for k in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.WARNING)
    with _plainly(url):
        client: Any = JobSubmissionClient(url)
        theirs = str(client._server_ray_version)
    ours = ray.__version__
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise ConnectionError(
            f"the cluster at {url} runs Ray {theirs}, this environment has Ray {ours}: both must"
            " be the same, see constraints.txt"
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
