"""nnU-Net's preparation: fingerprint, plans and preprocessed cases, in this process."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

from trainables.models.nnunet import NNUNet
from trainables.nnunet import raw_dataset
from trainables.nnunet.workspace import Workspace
from trainables.part import require
from trainables.run import Run

DATASET = 1
PLANNERS = "nnunetv2.experiment_planning.experiment_planners"
RESIDUAL = f"{PLANNERS}.residual_unets.residual_encoder_unet_planners"


@dataclass(frozen=True)
class Plan:
    """The inputs of nnU-Net's trainer."""

    plans: dict[str, Any]
    dataset: dict[str, Any]
    """The content of dataset.json."""
    fold: int


def prepare(run: Run, model: NNUNet, workspace: Workspace) -> Plan:
    """Extract the fingerprint, plan and preprocess; call it in an active workspace.

    The plan is made from the training images alone: tiles of the validation cases would reduce its
    patch to their size. They are preprocessed after the plan is made.

    Raises:
        ValueError: a fold is configured and there are fewer than five training images.
    """
    task, data = run.config.task, run.data
    require(
        model.fold is None or len(data.train) >= 5,
        f"model.nnunet.fold={model.fold} needs 5 training images, there are {len(data.train)}",
    )
    api = importlib.import_module("nnunetv2.experiment_planning.plan_and_preprocess_api")
    train = raw_dataset.write(workspace.raw, task, "train", data.train)
    with _in_this_process(run.context.beat):
        api.extract_fingerprint_dataset(
            DATASET, num_processes=1, verbose=False, show_progress_bar=False
        )
        _, identifier = api.plan_experiment_dataset(DATASET, planner(model.planner), model.memory)
        val: list[str] = []
        if model.fold is None:
            val = raw_dataset.write(workspace.raw, task, "val", data.val)
        api.preprocess_dataset(
            DATASET, identifier, (model.configuration,), (1,), show_progress_bar=False
        )
    folder = workspace.preprocessed / raw_dataset.NAME
    if model.fold is None:
        splits = json.dumps([{"train": train, "val": val}])
        (folder / "splits_final.json").write_text(splits, encoding="utf-8")
    plans = json.loads((folder / f"{identifier}.json").read_text(encoding="utf-8"))
    dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    return Plan(plans, dataset, model.fold or 0)


def planner(name: str) -> type[Any]:
    """Return one of nnU-Net's planner classes."""
    module = f"{PLANNERS}.default_experiment_planner" if name == "ExperimentPlanner" else RESIDUAL
    return getattr(importlib.import_module(module), name)


@contextlib.contextmanager
def _in_this_process(beat: Callable[[], None]) -> Generator[None]:
    """Run the work of nnU-Net's process pools in this process, one case after the other.

    A new process imports everything first, which takes longer than preparing a small data set. A
    process spawned by a Ray worker would run Ray's main module again, and a forked one may hang.
    """
    stand_in = _Multiprocessing(beat)
    with contextlib.ExitStack() as stack:
        for module, name, value in (
            (
                "experiment_planning.dataset_fingerprint.fingerprint_extractor",
                "multiprocessing",
                stand_in,
            ),
            ("preprocessing.preprocessors.default_preprocessor", "multiprocessing", stand_in),
            ("utilities.utils", "Pool", stand_in.Pool),
        ):
            library = importlib.import_module(f"nnunetv2.{module}")
            stack.callback(setattr, library, name, getattr(library, name))
            setattr(library, name, value)
        yield


class _Multiprocessing:
    """The part of multiprocessing that nnU-Net uses: a context and its pool."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._pool: list[object] = []  # nnU-Net looks for dead worker processes in it

    def get_context(self, method: str) -> _Multiprocessing:
        return self

    def Pool(self, processes: int) -> _Multiprocessing:  # noqa: N802
        return self

    def __enter__(self) -> _Multiprocessing:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: no process was started."""

    def starmap(self, work: Callable[..., Any], each: Iterable[tuple[Any, ...]]) -> list[Any]:
        self._beat()
        return [work(*arguments) for arguments in each]

    def starmap_async(self, work: Callable[..., Any], each: Iterable[tuple[Any, ...]]) -> _Finished:
        return _Finished(self.starmap(work, each))


class _Finished:
    """The result of an asynchronous call that has finished."""

    def __init__(self, results: list[Any]) -> None:
        self._results = results

    def ready(self) -> bool:
        return True

    def get(self) -> list[Any]:
        return self._results
