"""The role of an arm in the claims, which is read from its config and never from its name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.claims.convergence import score
from orchestrator.heldout.final_cells import FinalCell

if TYPE_CHECKING:
    import pandas as pd

Role = Literal["diffusion", "twin", "ensemble", "nnunet", "segformer", "no network", "other"]
NAMES: dict[Role, str] = {
    "diffusion": "diffusion model",
    "twin": "feed-forward twin",
    "ensemble": "ensemble of the twin with no more passes",
    "nnunet": "nnU-Net",
    "segformer": "SegFormer",
}
SINGLE, ENSEMBLES = "feedforward", ("feedforward", "deep_ensemble")


@dataclass(frozen=True)
class Arm:
    """A final cell with its role."""

    final: FinalCell

    @property
    def cell(self) -> str:
        """The cell's name."""
        return self.final.cell

    @property
    def model(self) -> str:
        """The architecture."""
        return self.final.model

    @property
    def trials(self) -> pd.DataFrame:
        """The finished final trials."""
        return self.final.trials

    @property
    def config(self) -> dict[str, Any]:
        """The config, without what differs between seeds."""
        return self.final.config

    @property
    def passes(self) -> int:
        """Network passes per test image."""
        return int(self.trials["passes_per_image"].fillna(1).iloc[0])

    @property
    def train(self) -> dict[str, Any]:
        """The settings of its training."""
        return self.config.get("train", {})

    @cached_property
    def role(self) -> Role:
        """The role; ``other`` for a control, that is a network trained without its image."""
        if self.train.get("control", "none") != "none":
            return "other"
        if self.final.mode == "diffusion":
            return "diffusion"
        for name in ("nnunet", "segformer"):
            if self.model.startswith(name):
                return name
        if self.train.get("steps") == 0:
            return "no network"
        mode = self.final.mode_settings
        members = mode.get("members", 1) * mode.get("networks", 1)
        if self.final.mode == SINGLE and members == 1:
            return "twin"
        return "ensemble" if self.final.mode in ENSEMBLES and members > 1 else "other"


class ArmRoster:
    """The arms of one study and task, by role."""

    def __init__(self, cells: Iterable[FinalCell]) -> None:
        self.arms = [Arm(cell) for cell in cells]

    def of(self, role: Role) -> list[Arm]:
        """All arms with a role."""
        return [arm for arm in self.arms if arm.role == role]

    @property
    def models(self) -> list[str]:
        """Architectures with a diffusion arm."""
        return sorted({arm.model for arm in self.of("diffusion")})

    def floor(self, arm: Arm) -> float | None:
        """The best validation Dice without a network, on the data that an arm was trained on."""
        rivals = self._trained_alike("no network", arm)
        return max((s for o in rivals if (s := score(o.trials)) is not None), default=None)

    def _trained_alike(self, role: Role, arm: Arm) -> list[Arm]:
        """The arms with a role whose training data are those of an arm."""
        return [o for o in self.of(role) if o.final.training_task == arm.final.training_task]

    def diffusion(self, model: str) -> list[Arm]:
        """The diffusion arms of one architecture."""
        return [arm for arm in self.of("diffusion") if arm.model == model]

    def against(self, role: Role, arm: Arm) -> Arm | None:
        """The arm that a diffusion arm is compared with; None if there is none of that role.

        It has the same training data. Of several it is the best in validation. A twin or an
        ensemble of twins has the same architecture with the same settings, and the same training if
        there is such an arm. Of ensembles it is the one with most passes, but no more than the
        diffusion arm.
        """
        candidates = self._trained_alike(role, arm)
        if role in ("twin", "ensemble"):
            model = (arm.model, arm.config.get("model"))
            candidates = [o for o in candidates if (o.model, o.config.get("model")) == model]
        if role == "ensemble":
            most = max((o.passes for o in candidates if o.passes <= arm.passes), default=0)
            candidates = [o for o in candidates if o.passes == most]
        if role in ("twin", "ensemble"):
            candidates = [o for o in candidates if not training_differences(o, arm)] or candidates
        return best(candidates)


def best(arms: Iterable[Arm]) -> Arm | None:
    """The arm with the best validation Dice; None if there is no arm."""

    def rank(arm: Arm) -> tuple[float, str]:
        reached = score(arm.trials)
        return -1.0 if reached is None else reached, arm.cell

    return max(arms, key=rank, default=None)


def training_differences(one: Arm, other: Arm) -> list[str]:
    """The names of the training settings in which two arms differ."""
    ours, theirs = (arm.config.get("train", {}) for arm in (one, other))
    return sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))


def chosen(rosters: Mapping[str, ArmRoster], model: str) -> dict[str, Arm]:
    """The diffusion arm of an architecture that the claims are about, by task.

    It is the config that most tasks have, so that tasks can be compared; of these the best in
    validation over the tasks. Where no two tasks have a config in common, as after a search, it is
    the arm of the same name.
    """
    candidates: dict[tuple[int, str], dict[str, Arm]] = {}
    for task, roster in rosters.items():
        for arm in roster.diffusion(model):
            rest = {k: v for k, v in arm.config.items() if k not in ("task", "seed")}
            for kind in ((1, json.dumps(rest, sort_keys=True)), (0, arm.final.arm)):
                by_task = candidates.setdefault(kind, {})
                rivals = [arm, *([by_task[task]] if task in by_task else [])]
                by_task[task] = best(rivals) or arm

    def rank(kind: tuple[int, str]) -> tuple[int, int, float]:
        reached = [score(arm.trials) or 0.0 for arm in candidates[kind].values()]
        return len(reached), kind[0], sum(reached)

    return candidates[max(sorted(candidates), key=rank)] if candidates else {}
