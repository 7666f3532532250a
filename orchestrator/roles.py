"""Which part an arm plays in the source study's claims: told by its config, never by its name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.learning import score
from orchestrator.measured import MeasuredCell

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
    """A cell of a study: what it is, and its finished final trials."""

    about: Mapping[str, str]
    trials: pd.DataFrame

    @cached_property
    def config(self) -> dict[str, Any]:
        """That of its first trial; the others differ in the seed, or in what a search found."""
        return json.loads(self.trials.iloc[0]["config"])

    @property
    def cell(self) -> str:
        """Its name."""
        return self.about["cell"]

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
        return spec.get(self.about["mode"], {}) if isinstance(spec, dict) else {}

    @cached_property
    def role(self) -> Role:
        """A network that is shown another image than its own, or none, plays no part."""
        train = self.config.get("train", {})
        model, mode = self.about["model"], self.about["mode"]
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


class Cast:
    """The arms of one study and task, by role."""

    def __init__(self, cells: Iterable[MeasuredCell]) -> None:
        self.arms = [Arm(about, trials) for about, trials in cells]

    def of(self, role: Role) -> list[Arm]:
        """All that play it."""
        return [arm for arm in self.arms if arm.role == role]

    @property
    def models(self) -> list[str]:
        """Architectures that there is a diffusion model of."""
        return sorted({arm.about["model"] for arm in self.of("diffusion")})

    @property
    def floor(self) -> float | None:
        """The best validation Dice without a network."""
        known = [s for arm in self.of("no network") if (s := score(arm.trials)) is not None]
        return max(known, default=None)

    def diffusion(self, model: str, name: str | None = None) -> Arm | None:
        """Of several, or of those of one name, the best in validation: never chosen by test."""
        named = (a for a in self.of("diffusion") if name is None or a.about["arm"] == name)
        return best(arm for arm in named if arm.about["model"] == model)

    def against(self, role: Role, arm: Arm) -> Arm | None:
        """What a diffusion arm is compared with; None where there is nothing of the kind.

        Of several the best in validation. A twin, and an ensemble of it, is the same architecture
        with the same numbers; of ensembles that one which has most passes, but no more than the
        diffusion model.
        """
        found = self.of(role)
        if role in ("twin", "ensemble"):
            alike = (arm.about["model"], arm.config.get("model"))
            found = [o for o in found if (o.about["model"], o.config.get("model")) == alike]
        if role == "ensemble":
            most = max((o.passes for o in found if o.passes <= arm.passes), default=0)
            found = [o for o in found if o.passes == most]
        return best(found)


def best(arms: Iterable[Arm]) -> Arm | None:
    """In validation; None of none."""

    def rank(arm: Arm) -> tuple[float, str]:
        reached = score(arm.trials)
        return -1.0 if reached is None else reached, arm.cell

    return max(arms, key=rank, default=None)


def chosen(casts: Mapping[str, Cast], model: str) -> dict[str, Arm]:
    """By task, the diffusion arm of an architecture that the claims are about: the same arm of the
    study on every task, so that tasks compare. The one that most tasks have, and of these the best
    in validation over them.
    """
    names = {a.about["arm"] for cast in casts.values() for a in cast.of("diffusion")}
    found = [
        {t: a for t, cast in casts.items() if (a := cast.diffusion(model, name)) is not None}
        for name in sorted(names)
    ]

    def rank(by_task: dict[str, Arm]) -> tuple[int, float]:
        reached = [score(arm.trials) or 0.0 for arm in by_task.values()]
        return len(reached), sum(reached)

    return max(found, key=rank, default={})
