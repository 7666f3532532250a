"""Removes the resources that dead jobs still hold on a long-lived cluster."""

from __future__ import annotations

from typing import Any

from cluster import _ray

MAX_LISTED = 10_000
TIMEOUT_SECONDS = 10.0
"""The longest wait for one answer."""


def remove(*ending: str) -> int:
    """Remove what jobs left behind that are over, or whose id is in ``ending``; return the number.

    A driver that is killed while Ray Train starts its workers leaves its placement group, which
    holds CPUs and GPUs indefinitely; a run that is killed leaves Ray Train's detached cleaner
    actor. Without the dashboard's State API nothing is removed.
    """
    from grpc import RpcError
    from ray.exceptions import RayError
    from ray.util.state import list_actors, list_jobs, list_placement_groups
    from ray.util.state.exception import RayStateApiException

    def orphaned(listed: list[Any], job: str) -> list[Any]:
        alive = (entry for entry in listed if entry.state not in ("REMOVED", "DEAD"))
        return [entry for entry in alive if getattr(entry, job) in over]

    try:
        jobs: list[Any] = list_jobs(limit=MAX_LISTED)
        over = {job.job_id for job in jobs if job.status in ("SUCCEEDED", "FAILED", "STOPPED")}
        over |= set(ending)
        groups = orphaned(list_placement_groups(limit=MAX_LISTED), "creator_job_id")
        cleaners = orphaned(
            list_actors(limit=MAX_LISTED, filters=[("class_name", "=", "PlacementGroupCleaner")]),
            "job_id",
        )
        _remove(groups)
        if cleaners:
            _ray.kill_actors([actor.actor_id for actor in cleaners], TIMEOUT_SECONDS)
    except (RayStateApiException, RayError, RpcError, OSError):
        return 0
    return len(groups) + len(cleaners)


def _remove(groups: list[Any]) -> None:
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for group in groups:
        remove_placement_group(
            PlacementGroup(PlacementGroupID(bytes.fromhex(group.placement_group_id)))
        )
