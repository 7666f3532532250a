"""What dead jobs left behind on a long-lived cluster, taken away so that it starves nobody."""

from __future__ import annotations

from typing import Any

MOST = 10_000
"""Of what the cluster lists."""


def remove() -> int:
    """Remove the placement groups of jobs that are over; how many there were.

    A driver that is killed while Ray Train starts its workers leaves its group, which keeps the
    CPUs and GPUs for ever. Needs the dashboard's State API; where there is none, nothing happens.
    """
    from ray._raylet import PlacementGroupID
    from ray.exceptions import RayError
    from ray.util.placement_group import PlacementGroup, remove_placement_group
    from ray.util.state import list_jobs, list_placement_groups
    from ray.util.state.exception import RayStateApiException

    try:
        jobs: list[Any] = list_jobs(limit=MOST)
        over = {job.job_id for job in jobs if job.status in ("SUCCEEDED", "FAILED", "STOPPED")}
        groups: list[Any] = list_placement_groups(limit=MOST)
        orphans = [g for g in groups if g.creator_job_id in over and g.state != "REMOVED"]
        for group in orphans:
            remove_placement_group(
                PlacementGroup(PlacementGroupID(bytes.fromhex(group.placement_group_id)))
            )
    except (RayStateApiException, RayError, OSError):
        return 0
    return len(orphans)
