"""``segprint logs``: follow the output of a submitted study."""

from __future__ import annotations

from argparse import Namespace

import cluster
from cluster import _jobs
from cluster.existing import Existing
from orchestrator.commands.submit import job_for
from orchestrator.remote.launcher import described, launch, shown


def main(options: Namespace) -> int:
    """Print the output until the study ends; return its exit code."""
    where = cluster.load(options.cluster)
    if isinstance(where, Existing):
        job = job_for(where, options)
        if options.dry_run:
            print(f"# from {where.jobs()}: the output of submission {_jobs.identity(job)}")
            return 0
        return _jobs.logs(where.jobs(), job)
    where = described(options.cluster, "logs")
    job = job_for(where, options)
    if options.dry_run:
        print(shown(where, job, where.logs(job)))
        return 0
    return launch(where, job, where.logs(job), with_source=False)
