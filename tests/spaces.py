"""Random spaces over the real fields of a config, for Hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from search_spaces import Choice, Each, Integer, LogUniform, Search, Space, Uniform

SCHEDULE = '''"""A user's schedule, one of whose fields may be absent."""
from __future__ import annotations

from dataclasses import dataclass
from trainables.schedules import Schedule


@dataclass(frozen=True)
class Mine(Schedule):
    slope: float | None = None

    def log_snr(self, t):
        return 8.0 - (16.0 if self.slope is None else self.slope) * t
'''
MODEL = '''"""A user's network of one convolution, which costs next to nothing."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from trainables.models import Model, Network, Output


@dataclass(frozen=True)
class Pixelwise(Model):
    gain: float | None = None

    @property
    def stride(self):
        return 1

    def build(self, ports):
        return OneLayer(self, ports)


class OneLayer(Network):
    def __init__(self, model, ports):
        super().__init__()
        self.gain = 1.0 if model.gain is None else model.gain
        self.layer = nn.Conv2d(ports.image + ports.mask + 1, ports.out, 3, padding=1)

    def forward(self, mask, t, image, features=None):
        time = t.float()[:, None, None, None].expand_as(image[:, :1])
        return Output(self.gain * self.layer(torch.cat([mask, image, time], 1)))
'''
CONSTRAINTS = (
    "train.precision == 'float32' or train.batch < 5",
    "train.augment.flips or train.learning_rate < 0.005",
    "train.weight_decay in [0, 0.1] and train.ema != 0.3",
    "not train.batch * train.steps > 8 or train.precision != 'bfloat16'",
)
"""Over ``train`` only, so that Python itself can evaluate them; each leaves a part of the space."""
ARMS: tuple[dict[str, Any], ...] = (
    {},
    {"mode": "feedforward"},
    {"train.weight_decay": Choice([0, 0.1])},
    {"train.precision": "bfloat16", "train.ema": Uniform(0, 0.9, step=0.15)},
)
OVERRIDES: dict[str, Any] = {"train.steps": 1, "train.fraction": 0.5, "train.warmup": 2}

Draw = Any


def real(low: float, high: float) -> st.SearchStrategy[Any]:
    """A real number: searched in a range, on steps or in a list, or fixed."""

    def stepped(count: int) -> Uniform:
        return Uniform(low, high, step=float((Decimal(str(high)) - Decimal(str(low))) / count))

    listed = st.lists(st.sampled_from([low, high, (low + high) / 2]), min_size=1, unique=True)
    return st.one_of(
        st.just(Uniform(low, high)),
        st.sampled_from([2, 4, 5, 10]).map(stepped),
        listed.map(Choice),
        st.sampled_from([high, low]),
    )


def words(*options: Any) -> st.SearchStrategy[Any]:
    """One word, or a choice of some."""
    some = st.lists(st.sampled_from(options), min_size=1, unique_by=repr)
    return st.one_of(st.sampled_from(options), some.map(Choice))


FLAGS = words(True, False)
MEMBERS = st.one_of(words(1, 2), st.just(Integer(1, 2)), st.just(Integer(1, 3, step=2)))


def named(
    fields: Mapping[str, st.SearchStrategy[Any]], only: str | None = None
) -> st.SearchStrategy[Any]:
    """A choice of parts with their fields, or a choice of only one part."""
    some = st.lists(st.sampled_from(sorted(fields)), min_size=1, unique=True)
    if only is not None:
        some = st.just([only])
    return some.flatmap(
        lambda names: st.fixed_dictionaries({name: fields[name] for name in names}).map(Choice)
    )


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def schedules(mine: str, deep: bool) -> st.SearchStrategy[Any]:
    fields: dict[str, st.SearchStrategy[Any]] = {
        "linear": st.just({}),
        "cosine": st.fixed_dictionaries({"shift": real(-2.0, 1.0)}),
        "laplace": optional(scale=st.just(LogUniform(0.3, 1.0))),
        mine: optional(slope=words(None, 12, 14.5)),
    }
    if deep:
        inner = st.fixed_dictionaries({"scale": real(0.25, 0.75), "base": named(fields)})
        return named({**fields, "input_scaled": inner}, only="input_scaled")
    return st.one_of(named(fields), words("linear", "cosine", mine))


def modes(mine: str, deep: bool) -> st.SearchStrategy[Any]:
    """A mode whose own fields are searched; a deep one has a choice in a choice in a choice."""
    steps = st.one_of(words(1, 2), st.just(Integer(1, 2)))
    variance = words("posterior", "forward")
    sampler = {
        "ddim": st.fixed_dictionaries({"steps": steps}, optional={"eta": real(0.0, 1.0)}),
        "ddpm": st.fixed_dictionaries({"steps": steps}, optional={"variance": variance}),
    }
    diffusion = st.fixed_dictionaries(
        {"schedule": schedules(mine, deep), "sampler": named(sampler)},
        optional={
            "members": MEMBERS,
            "evidence": FLAGS,
            "t_high": real(0.75, 1.0),
            "weight": words("none", "p2", "min_snr"),
        },
    )
    choices = {"diffusion": diffusion, "feedforward": optional(members=MEMBERS)}
    if deep:
        return named(choices, only="diffusion")
    return st.one_of(named(choices), diffusion.map(lambda fields: {"diffusion": fields}))


TRAIN = {
    "learning_rate": st.sampled_from(
        [Uniform(0.001, 0.009), Uniform(0.001, 0.009, step=0.002), Choice([0.001, 0.009])]
    ),
    "batch": st.one_of(words(2, 4), st.just(Integer(1, 5, step=2)), st.just(Integer(2, 4))),
    "precision": words("float32", "bfloat16"),
    "ema": st.one_of(real(0.0, 0.9), st.just(Choice([0, 0.3, 0.5]))),
    "clip": st.sampled_from([1.0, Each(0.5, 1), Each(1.0)]),
    "augment": optional(flips=FLAGS, colour=real(0.0, 0.5)),
}


@st.composite
def spaces(draw: Draw, folder: str, deep: bool) -> Space:
    """A space with at least one searched parameter in each of several arms."""
    training = {"learning_rate": LogUniform(1e-4, 1e-2)}
    training |= draw(st.fixed_dictionaries({}, optional=TRAIN))
    arms = draw(st.lists(st.sampled_from(range(len(ARMS))), min_size=1, max_size=2, unique=True))
    overrides = draw(st.lists(st.sampled_from(sorted(OVERRIDES)), unique=True))
    return Space(
        question="Is what is asked what runs?",
        config={
            "task": {"synthetic": {"size": 8, "cases": 2, "radius": 2.0}},
            "model": {f"{folder}/pixelwise.py": draw(optional(gain=words(None, 2, 0.5)))},
            "mode": draw(modes(f"{folder}/mine.py", deep)),
            "train": {"steps": 2, "batch": 2, "validate_every": 1, **training},
            "probe": {"bins": 0},
            "test": {"pictures": 0},
        },
        arms={f"arm{i}": ARMS[i] for i in arms},
        constraints=tuple(draw(st.lists(st.sampled_from(CONSTRAINTS), max_size=2, unique=True))),
        search=Search(
            trials=draw(st.integers(2, 4)),
            overrides={path: OVERRIDES[path] for path in overrides},
            rungs=draw(st.sampled_from([(), (1,)])),
            objectives=draw(st.sampled_from([("dice",), ("dice", "-brier")])),
            seed=draw(st.integers(0, 9)),
        ),
    )
