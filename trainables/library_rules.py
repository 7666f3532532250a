"""What a config says to a model whose library trains it: little, and nothing that is not heard."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from trainables.modes.feedforward import FeedForward
from trainables.part import plain, require

if TYPE_CHECKING:
    from trainables.config import Config

HEARD = ("steps", "validate_every", "fraction")
"""Of ``train``; the library decides the rest."""


def check(config: Config) -> None:
    """Refuse what would change a digest and no number.

    Raises:
        ValueError: an option that the library does not hear is not what it is by default; steps
            are not whole epochs; a reading that it cannot give.
    """
    model, train, usual = config.model, config.train, type(config.train)()
    for field in fields(train):
        value, default = plain(getattr(train, field.name)), plain(getattr(usual, field.name))
        require(
            field.name in HEARD or value == default,
            f"train.{field.name}={value} must be {default}, as it is by default: model"
            f" {model.name} trains by itself and hears {', '.join(HEARD)} only",
        )
    require(
        config.mode == FeedForward(),
        f"mode={plain(config.mode)} must be 'feedforward', and as it is by default: model"
        f" {model.name} trains and reads by itself",
    )
    for name in ("steps", "validate_every"):
        value = getattr(train, name)
        require(
            value > 0 and value % model.every == 0,
            f"train.{name}={value} must be a positive multiple of {model.every}, the steps of an"
            f" epoch of model {model.name}",
        )
    for control in config.test.controls:
        require(
            control == "temperature",
            f"test.controls={control!r}: model {model.name} reads the images themselves (choices:"
            " temperature)",
        )
