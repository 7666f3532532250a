"""``segprint submit``: have a cluster sweep a study, whether or not this machine stays on."""

from __future__ import annotations

import shlex
import tempfile
from argparse import Namespace
from pathlib import Path

import cluster
from cluster import Cluster, Job, Remote, _jobs
from cluster.existing import Existing
from orchestrator.commands.options import study_of
from orchestrator.commands.output import notice
from orchestrator.planning.validation import check
from orchestrator.remote.launcher import described, launch, shown
from orchestrator.remote.package import job_of, sources, stage


def main(options: Namespace) -> int:
    """Submit the study, or with ``--dry-run`` print everything that would be sent."""
    where = cluster.load(options.cluster)
    if isinstance(where, Existing):
        job = job_for(where, options)
        return _to_jobs(where.jobs(), job, options)
    where = described(options.cluster, "submit")
    job = job_for(where, options)
    if options.dry_run:
        print(shown(where, job, where.submit(job)))
        return 0
    return launch(where, job, where.submit(job))


def job_for(where: Cluster | Remote, options: Namespace) -> Job:
    """Return the job that the options name, for a cluster.

    Raises:
        ValueError: the space describes no valid config.
    """
    study, space = study_of(options, options.space)
    check(space)  # it also loads the files that are sent
    given = {"--as": options.study, "--most": options.most}
    changes = [text for k, v in given.items() if v is not None for text in (k, str(v))]
    return job_of(study, options.space, where, options.cluster, options.store, changes)


def _logs_command(options: Namespace) -> str:
    """Return the command that follows the job: its options choose the same store and study."""
    words = ["segprint", "--store", options.store, "logs", options.cluster, options.space]
    for name, value in (("--as", options.study), ("--most", options.most)):
        words += [] if value is None else [name, str(value)]
    return shlex.join(words)


def _to_jobs(url: str, job: Job, options: Namespace) -> int:
    name = _jobs.identity(job)
    if options.dry_run:
        print(f"# to {url}, submission {name}\n{_jobs.entrypoint(job)}\n# with its directory:")
        print("\n".join(sorted({*sources(), *job.files})))
        return 0
    with tempfile.TemporaryDirectory(prefix="segprint-") as folder:
        stage(job, Path(folder))
        new = _jobs.submit(url, job, Path(folder))
        problem = _jobs.start(url, job)
    if problem:
        notice(f"{job.name}: {problem}")
        return 1
    print(f"{job.name}: {'submitted' if new else 'runs there already'} as {name}")
    print(f"{_logs_command(options)} follows it; ray job stop {name} ends it")
    return 0
