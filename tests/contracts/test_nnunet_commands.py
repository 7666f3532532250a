"""What nnU-Net's own commands plan and reach is what a trial of it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.contracts.test_nnunet import RUN, finished, needs_it, planned_here
from trainables.config import parse
from trainables.data import prepared
from trainables.nnunet import raw_dataset
from trainables.nnunet.workspace import Workspace
from trainables.runtime.worker_context import WorkerContext
from trainables.training.loop import train


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    with closing(Workspace()) as made:
        yield made


@pytest.fixture
def there() -> Iterator[Workspace]:
    with closing(Workspace()) as made:
        yield made


def command(workspace: Workspace, *arguments: str, **env: str) -> None:
    """One of nnU-Net's own commands, in a process of its own."""
    trees = {
        f"nnUNet_{name}": str(workspace.directory / name)
        for name in ("raw", "preprocessed", "results")
    }
    subprocess.run(
        [str(Path(sys.executable).parent / arguments[0]), *arguments[1:]],
        env={**os.environ, **trees, "nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1", **env},
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=200,
    )


@needs_it
@pytest.mark.slow
def test_its_plan_of_nuclei_is_that_of_its_own_command(
    workspace: Workspace, there: Workspace
) -> None:
    from nnunetv2.training.dataloading.nnunet_dataset import (  # pyright: ignore
        nnUNetDatasetBlosc2,
    )

    made = parse({**RUN, "task": "nuclei"})
    data = prepared(made)
    found = planned_here(made, data, workspace)
    raw_dataset.write(there.raw, made.task, "train", data.train)
    command(there, "nnUNetv2_plan_and_preprocess", "-d", "1", "-c", "2d", "-np", "1", "-npfp", "1")
    folders = [r.preprocessed / raw_dataset.NAME for r in (workspace, there)]
    assert found == json.loads((folders[1] / "nnUNetPlans.json").read_text())
    ours, theirs = ((f / "dataset_fingerprint.json").read_bytes() for f in folders)
    assert ours == theirs
    kept = [
        nnUNetDatasetBlosc2(str(f / "nnUNetPlans_2d")).load_case("train_000000") for f in folders
    ]
    for ours, theirs in zip(kept[0][:2], kept[1][:2], strict=True):
        assert np.array_equal(ours[:], theirs[:])


SEEDED = '''
import random
import numpy as np, torch
from nnunetv2.run import run_training
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from trainables.draws import generator

class Seeded(nnUNetTrainer):
    """Its own loop, with a seed before whatever draws."""
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cpu")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.steps = 2, 3, 0
        self.num_val_iterations_per_epoch = 1
        self.seed("weights")
    def seed(self, *words):
        seed = generator(0, *words, "nnunet").initial_seed()
        torch.manual_seed(seed); np.random.seed(seed % 2**32); random.seed(seed)
    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        self.seed(self.steps, "step")
    def train_step(self, batch):
        found = super().train_step(batch)
        self.steps += 1
        self.seed(self.steps, "step")
        return found
    def on_validation_epoch_start(self):
        super().on_validation_epoch_start()
        self.seed(self.steps, 0, "validation")

if __name__ == "__main__":  # its look-up imports trainers that need timm, and so torchvision
    run_training.recursive_find_trainer_class_by_name = lambda name: Seeded
    run_training.run_training_entry()
'''


@needs_it
@pytest.mark.slow
def test_its_own_command_with_the_same_seeds_reaches_the_same_validation_dice(
    workspace: Workspace, tmp_path: Path
) -> None:
    made = parse(RUN)
    data = prepared(made)
    train_names = raw_dataset.write(workspace.raw, made.task, "train", data.train)
    plan = ("nnUNetv2_plan_and_preprocess", "-d", "1", "-c", "2d", "-np", "1", "-npfp", "1")
    command(workspace, *plan, "--no_pp")
    val_names = raw_dataset.write(workspace.raw, made.task, "val", data.val)
    command(workspace, "nnUNetv2_preprocess", "-d", "1", "-c", "2d", "-np", "1")
    splits = workspace.preprocessed / raw_dataset.NAME / "splits_final.json"
    splits.write_text(json.dumps([{"train": train_names, "val": val_names}]))
    script = tmp_path / "seeded.py"
    script.write_text(SEEDED)
    command(
        workspace,
        *("python", str(script), "1", "2d", "0", "-device", "cpu"),
        nnUNet_n_proc_DA="0",
        PYTHONPATH=str(Path(__file__).parents[2]),
    )
    (summary,) = workspace.results.rglob("summary.json")
    theirs = json.loads(summary.read_text())["foreground_mean"]["Dice"]
    assert finished(train(made, WorkerContext()))[1].record.best_score == pytest.approx(
        theirs, rel=1e-9
    )
