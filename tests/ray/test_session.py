"""The directory of a Ray that Segprint starts: its sockets and logs are the user's alone."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import ROOT

PRIVATE = """
import os
import ray
from cluster.local import Local

with Local(cpus=1).connect():
    session = ray._private.worker.global_worker.node.get_session_dir_path()
    print(oct(os.stat(session).st_mode & 0o777), ray.get(ray.remote(lambda: os.getuid()).remote()))
"""


def test_no_other_user_reaches_the_session_of_a_local_ray() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRIVATE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["0o700", str(os.getuid())], done.stderr
