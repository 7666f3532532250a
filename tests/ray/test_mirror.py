"""A sweep shown to MLflow and W&B: what they get to see, and that their failures stop nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from tests.conftest import SMALL, Segprint

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]
MINE = f"""from search_spaces import *
SPACE = Space(question="?", config={SMALL | {"mode": "feedforward"}!r}, replicates=2)
"""
SECRET = {"AWS_SECRET_ACCESS_KEY": "planted-secret", "WANDB_SILENT": "true"}


def swept(
    segprint: Segprint, folder: Path, mirror: str, *, complaints: int = 0, **env: str
) -> list[str]:
    """The digests that a mirrored sweep committed."""
    (folder / "mine.py").write_text(MINE)
    done = segprint("sweep", "./mine.py", "--mirror", mirror, "--json", **SECRET, **env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("goes on without this mirror") == complaints
    assert json.loads(done.stdout)["complete"]
    return sorted(Ledger(Store(str(folder / "results"))).commits())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's, of its own libraries
def test_mlflow_is_shown_configs_and_scores_and_nothing_else(
    segprint: Segprint, tmp_path: Path
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed (segprint[mlflow])")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    digests = swept(segprint, tmp_path, "mlflow", MLFLOW_TRACKING_URI=uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mine")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.params["digest"] for run in runs) == digests
    for run in runs:
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "score")
        assert [m.step for m in history] == [2, 4, 6]
        assert not any("sink" in key or "secret" in key.lower() for key in run.data.params)
    assert b"planted-secret" not in (tmp_path / "mlflow.db").read_bytes()
    assert b"LedgerSink" not in (tmp_path / "mlflow.db").read_bytes()


def test_wandb_writes_a_run_per_trial_without_a_network(segprint: Segprint, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed (segprint[wandb])")
    digests = swept(segprint, tmp_path, "wandb", WANDB_MODE="offline")
    runs = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(runs) == len(digests) == 2
    written = b"".join(run.read_bytes() for run in runs)
    assert all(digest.encode() in written for digest in digests)
    assert b"planted-secret" not in written
    assert b"LedgerSink" not in written


def test_a_mirror_that_fails_is_named_once_and_the_sweep_is_complete(
    segprint: Segprint, tmp_path: Path
) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed (segprint[mlflow])")
    nowhere = {"MLFLOW_TRACKING_URI": "nonsense://x"}
    assert len(swept(segprint, tmp_path, "mlflow", complaints=1, **nowhere)) == 2
