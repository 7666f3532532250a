"""Which part an arm plays in the source study's claims: told by its config, never by its name."""

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
CALLED: dict[Role, str] = {
    "diffusion": "diffusion model",
    "twin": "feed-forward twin",
    "ensemble": "ensemble of the twin with no more passes",
    "nnunet": "nnU-Net",
    "segformer": "SegFormer",
}
SINGLE, ENSEMBLES = "feedforward", ("feedforward", "deep_ensemble")


@dataclass(frozen=True)
class Arm:
    """A final cell, and the role that it plays in the claims."""

    final: FinalCell

    @property
    def trials(self) -> pd.DataFrame:
        """Its finished final trials."""
        return self.final.trials

    @property
    def config(self) -> dict[str, Any]:
        """Its config, without what differs between seeds."""
        return self.final.config

    @property
    def model(self) -> str:
        """Its architecture."""
        return self.final.model

    @property
    def cell(self) -> str:
        """Its name."""
        return self.final.cell

    @property
    def passes(self) -> int:
        """Of the network, per test image."""
        return int(self.trials["passes_per_image"].fillna(1).iloc[0])

    @property
    def networks(self) -> int:
        """That are trained one after another."""
        return int(self._mode.get("networks", 1))

    @property
    def _mode(self) -> dict[str, Any]:
        spec = self.config.get("mode", {})
        return spec.get(self.final.mode, {}) if isinstance(spec, dict) else {}

    @cached_property
    def role(self) -> Role:
        """A network that is shown another image than its own, or none, plays no part."""
        train = self.config.get("train", {})
        model, mode = self.model, self.final.mode
        if train.get("control", "none") != "none":
            return "other"
        if mode == "diffusion":
            return "diffusion"
        for name in ("nnunet", "segformer"):
            if model.startswith(name):
                return name
        if train.get("steps") == 0:
            return "no network"
        members = self._mode.get("members", 1) * self.networks
        if mode == SINGLE and members == 1:
            return "twin"
        return "ensemble" if mode in ENSEMBLES and members > 1 else "other"


class ArmRoster:
    """The arms of one study and task, by role."""

    def __init__(self, cells: Iterable[FinalCell]) -> None:
        self.arms = [Arm(cell) for cell in cells]

    def of(self, role: Role) -> list[Arm]:
        """All that play it."""
        return [arm for arm in self.arms if arm.role == role]

    @property
    def models(self) -> list[str]:
        """Architectures that there is a diffusion model of."""
        return sorted({arm.model for arm in self.of("diffusion")})

    @property
    def floor(self) -> float | None:
        """The best validation Dice without a network."""
        known = [s for arm in self.of("no network") if (s := score(arm.trials)) is not None]
        return max(known, default=None)

    def diffusion(self, model: str) -> list[Arm]:
        """Those of one architecture."""
        return [arm for arm in self.of("diffusion") if arm.model == model]

    def against(self, role: Role, arm: Arm) -> Arm | None:
        """What a diffusion arm is compared with; None where there is nothing of the kind.

        Of several the best in validation. A twin, and an ensemble of it, is the same architecture
        with the same numbers, trained alike if there is one; of ensembles that one which has most
        passes, but no more than the diffusion model.
        """
        found = self.of(role)
        if role in ("twin", "ensemble"):
            alike = (arm.model, arm.config.get("model"))
            found = [o for o in found if (o.model, o.config.get("model")) == alike]
        if role == "ensemble":
            most = max((o.passes for o in found if o.passes <= arm.passes), default=0)
            found = [o for o in found if o.passes == most]
        if role in ("twin", "ensemble"):
            found = [o for o in found if not differs(o, arm)] or found
        return best(found)


def best(arms: Iterable[Arm]) -> Arm | None:
    """In validation; None of none."""

    def rank(arm: Arm) -> tuple[float, str]:
        reached = score(arm.trials)
        return -1.0 if reached is None else reached, arm.cell

    return max(arms, key=rank, default=None)


def differs(one: Arm, other: Arm) -> list[str]:
    """The numbers of training that are not the same, by name."""
    mine, theirs = (arm.config.get("train", {}) for arm in (one, other))
    return sorted(k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k))


def chosen(casts: Mapping[str, ArmRoster], model: str) -> dict[str, Arm]:
    """By task, the diffusion arm of an architecture that the claims are about: the one that most
    tasks have, so that tasks compare, and of these the best in validation over them.

    It is the same config on every task; where no two tasks have one in common, as after a search,
    the arm of the same name.
    """
    alike: dict[tuple[int, str], dict[str, Arm]] = {}
    for task, cast in casts.items():
        for arm in cast.diffusion(model):
            rest = {k: v for k, v in arm.config.items() if k not in ("task", "seed")}
            for kind in ((1, json.dumps(rest, sort_keys=True)), (0, arm.final.arm)):
                mine = alike.setdefault(kind, {})
                mine[task] = best([arm, *([mine[task]] if task in mine else [])]) or arm

    def rank(kind: tuple[int, str]) -> tuple[int, int, float]:
        reached = [score(arm.trials) or 0.0 for arm in alike[kind].values()]
        return len(reached), kind[0], sum(reached)

    return alike[max(sorted(alike), key=rank)] if alike else {}
