"""What dead jobs left behind on a long-lived cluster, taken away so that it starves nobody."""

from __future__ import annotations

from typing import Any

MOST = 10_000
"""Of what the cluster lists."""
SECONDS = 10.0
"""Longest wait for one answer."""


def remove(*ending: str) -> int:
    """Remove what is left of jobs that are over, or about to end; how many things there were.

    A driver that is killed while Ray Train starts its workers leaves its placement group, which
    keeps the CPUs and GPUs for ever; and where a run does not end by itself, Ray Train's detached
    cleaner stays behind. Needs the dashboard's State API; where there is none, nothing happens.
    """
    from grpc import RpcError
    from ray.exceptions import RayError
    from ray.util.state import list_actors, list_jobs, list_placement_groups
    from ray.util.state.exception import RayStateApiException

    def left(listed: list[Any], job: str) -> list[Any]:
        return [x for x in listed if getattr(x, job) in over and x.state not in ("REMOVED", "DEAD")]

    try:
        jobs: list[Any] = list_jobs(limit=MOST)
        over = {job.job_id for job in jobs if job.status in ("SUCCEEDED", "FAILED", "STOPPED")}
        over |= set(ending)
        groups = left(list_placement_groups(limit=MOST), "creator_job_id")
        cleaners = left(
            list_actors(limit=MOST, filters=[("class_name", "=", "PlacementGroupCleaner")]),
            "job_id",
        )
        _remove(groups)
        _kill(cleaners)
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


def _kill(actors: list[Any]) -> None:
    """SIGKILL actors that have no name: nobody holds a handle of them any more."""
    import ray
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2 as messages
    from ray.core.generated.gcs_service_pb2_grpc import ActorInfoGcsServiceStub

    if not actors:
        return
    channel: Any = init_grpc_channel(ray.get_runtime_context().gcs_address)
    for actor in actors:
        request: Any = messages.KillActorViaGcsRequest(  # pyright: ignore[reportAttributeAccessIssue]
            actor_id=bytes.fromhex(actor.actor_id), force_kill=True, no_restart=True
        )
        ActorInfoGcsServiceStub(channel).KillActorViaGcs(request, timeout=SECONDS)
    channel.close()
