"""A node at another address is asked for its own memory, before a sweep starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ASK = """
import json, ray
from ray.cluster_utils import Cluster
from orchestrator.sweep import node_memory

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=3, num_gpus=2, node_ip_address="127.0.0.2")
ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
print(json.dumps(sorted(node_memory.of_nodes())))
ray.shutdown()
cluster.shutdown()
"""
GPUS_MIB = (40_960, 81_559)


@pytest.mark.slow
def test_the_memory_of_another_node_and_of_its_largest_gpu(tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n" + "".join(f"echo {size}\n" for size in GPUS_MIB))
    tool.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    here, elsewhere = json.loads(run.stdout.splitlines()[-1])
    assert here[:2] == [1, 0]
    assert elsewhere[:2] == [3, 2]
    assert elsewhere[2] == here[2], "both are this machine"
    meminfo = Path("/proc/meminfo").read_text(encoding="ascii").split()
    assert 0 < elsewhere[2] <= 1024 * int(meminfo[meminfo.index("MemTotal:") + 1])
    assert elsewhere[3] == 2**20 * max(GPUS_MIB)
