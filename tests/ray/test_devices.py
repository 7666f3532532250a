"""The GPUs that the workers of a trial see, on a Ray that believes in two GPUs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TWO_WORKERS = """
import json, os, sys, tempfile
from pathlib import Path
import ray
from ray import train, tune
from trainables.worker import trainer

def look(job):
    seen = os.environ["CUDA_VISIBLE_DEVICES"], ray.get_gpu_ids()
    place = Path(job["digest"])
    (place / str(train.get_context().get_world_rank())).write_text(json.dumps(seen))

def trial(job):
    with tempfile.TemporaryDirectory() as folder:
        trainer(job, folder, look).fit()

job = {"digest": sys.argv[1], "workers": 2, "cpus": 1, "gpus": 1}
ray.init(address="local", num_cpus=3, num_gpus=2, include_dashboard=False, log_to_driver=False)
run = tune.RunConfig(storage_path=sys.argv[1] + "/tune", verbose=0)
done = tune.Tuner(tune.with_resources(trial, {"cpu": 1}), param_space=job, run_config=run).fit()
assert not done.errors, done.errors
ray.shutdown()
"""


@pytest.mark.slow
def test_each_worker_of_a_node_sees_the_gpus_of_the_others_and_trains_on_its_own(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWO_WORKERS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = [json.loads((tmp_path / str(rank)).read_text(encoding="utf-8")) for rank in range(2)]
    assert [devices for devices, _ in seen] == ["0,1", "0,1"]
    assert sorted(mine for _, mine in seen) == [[0], [1]]
