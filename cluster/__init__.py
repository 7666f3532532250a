"""Where studies run, one module per kind of cluster; the package starts Ray and knows no study.

A :class:`Cluster` is reached from a driver in this process; a :class:`Remote` is described by files
and commands, and runs each :class:`Job` elsewhere.
"""

from cluster._choices import is_cluster, kind, load, names, source_file
from cluster._kinds import WORKERS, Cluster, Command, Job, Remote, Resources, short
from cluster._ray import RayNode, alive_nodes, has_lost_node

__all__ = [
    "WORKERS",
    "Cluster",
    "Command",
    "Job",
    "RayNode",
    "Remote",
    "Resources",
    "alive_nodes",
    "has_lost_node",
    "is_cluster",
    "kind",
    "load",
    "names",
    "short",
    "source_file",
]
