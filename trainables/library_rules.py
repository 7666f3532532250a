"""Config rules for models that an external library trains."""

from __future__ import annotations

from dataclasses import fields

from trainables.models import Model
from trainables.modes import Mode
from trainables.modes.feedforward import FeedForward
from trainables.part import plain, require
from trainables.settings import Evaluation, Train

USED = ("steps", "validate_every", "fraction")
"""Fields of ``train`` that the library uses; it decides the rest itself."""


def check(model: Model, mode: Mode, train: Train, test: Evaluation) -> None:
    """Refuse settings that would change the digest of a config and none of its numbers.

    Raises:
        ValueError: an option that the library ignores differs from its default; steps are not
            whole epochs; a control that the library cannot apply.
    """
    usual = Train()
    for field in fields(train):
        value, default = plain(getattr(train, field.name)), plain(getattr(usual, field.name))
        require(
            field.name in USED or value == default,
            f"train.{field.name}={value} must be {default}, its default: the library of model"
            f" {model.name} uses {', '.join(USED)} only",
        )
    require(
        mode == FeedForward(),
        f"mode={plain(mode)} must be 'feedforward' with its defaults: the library of model"
        f" {model.name} trains and predicts",
    )
    for name in ("steps", "validate_every"):
        value = getattr(train, name)
        require(
            value > 0 and value % model.every == 0,
            f"train.{name}={value} must be a positive multiple of {model.every}, the steps per"
            f" epoch of model {model.name}",
        )
    for control in test.controls:
        require(
            control == "temperature",
            f"test.controls={control!r}: the library of model {model.name} reads the images itself"
            " (choices: temperature)",
        )
