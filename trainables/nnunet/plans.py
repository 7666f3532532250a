"""nnU-Net's own preparation: fingerprint, plan and preprocessed cases, in this process."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

from trainables.config import Config
from trainables.data import Prepared
from trainables.models.nnunet import NNUNet
from trainables.nnunet import raw_dataset
from trainables.nnunet.workspace import Room
from trainables.part import require

DATASET = 1
PLANNERS = "nnunetv2.experiment_planning.experiment_planners"
RESIDUAL = f"{PLANNERS}.residual_unets.residual_encoder_unet_planners"


@dataclass(frozen=True)
class Planned:
    """What a trainer of nnU-Net is made of."""

    plans: dict[str, Any]
    dataset: dict[str, Any]
    """Its dataset.json."""
    fold: int


def prepare(
    config: Config, model: NNUNet, data: Prepared, room: Room, beat: Callable[[], None]
) -> Planned:
    """Everything before nnU-Net's training, from the training images; call it inside the room.

    The plan sees the training images alone: tiles of the validation cases would make its patch as
    small as they are. They are preprocessed with the plan made.

    Raises:
        ValueError: fewer than five training images, and one of five folds is asked for.
    """
    require(
        model.fold is None or len(data.train) >= 5,
        f"model.nnunet.fold={model.fold} needs 5 training images, there are {len(data.train)}",
    )
    api = importlib.import_module("nnunetv2.experiment_planning.plan_and_preprocess_api")
    train = raw_dataset.write(room.raw, config.task, "train", data.train)
    with _in_turn(beat):
        api.extract_fingerprint_dataset(
            DATASET, num_processes=1, verbose=False, show_progress_bar=False
        )
        _, identifier = api.plan_experiment_dataset(DATASET, planner(model.planner), model.memory)
        val = (
            raw_dataset.write(room.raw, config.task, "val", data.val) if model.fold is None else []
        )
        api.preprocess_dataset(
            DATASET, identifier, (model.configuration,), (1,), show_progress_bar=False
        )
    folder = room.preprocessed / raw_dataset.NAME
    if model.fold is None:
        splits = json.dumps([{"train": train, "val": val}])
        (folder / "splits_final.json").write_text(splits, encoding="utf-8")
    plans = json.loads((folder / f"{identifier}.json").read_text(encoding="utf-8"))
    dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    return Planned(plans, dataset, model.fold or 0)


def planner(name: str) -> type[Any]:
    """One of nnU-Net's planners."""
    module = f"{PLANNERS}.default_experiment_planner" if name == "ExperimentPlanner" else RESIDUAL
    return getattr(importlib.import_module(module), name)


@contextlib.contextmanager
def _in_turn(beat: Callable[[], None]) -> Generator[None]:
    """Work that nnU-Net gives to new processes is done here, one case after the other.

    A process that starts has to import everything first, which takes longer than a small data set;
    what a Ray worker would start again is Ray's own main module, and a fork of it may hang.
    """
    here = _Processes(beat)
    with contextlib.ExitStack() as stack:
        for module, name, stand_in in (
            (
                "experiment_planning.dataset_fingerprint.fingerprint_extractor",
                "multiprocessing",
                here,
            ),
            ("preprocessing.preprocessors.default_preprocessor", "multiprocessing", here),
            ("utilities.utils", "Pool", here.Pool),
        ):
            found = importlib.import_module(f"nnunetv2.{module}")
            stack.callback(setattr, found, name, getattr(found, name))
            setattr(found, name, stand_in)
        yield


class _Processes:
    """What nnU-Net asks of multiprocessing: a context, and its pool."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._pool: list[object] = []

    def get_context(self, method: str) -> _Processes:
        return self

    def Pool(self, processes: int) -> _Processes:  # noqa: N802
        return self

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""

    def starmap(self, work: Callable[..., Any], each: Iterable[tuple[Any, ...]]) -> list[Any]:
        self._beat()
        return [work(*arguments) for arguments in each]

    def starmap_async(self, work: Callable[..., Any], each: Iterable[tuple[Any, ...]]) -> _Done:
        return _Done(self.starmap(work, each))


class _Done:
    def __init__(self, found: list[Any]) -> None:
        self._found = found

    def ready(self) -> bool:
        return True

    def get(self) -> list[Any]:
        return self._found
