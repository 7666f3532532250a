"""Parts in users' files are checked by the rules of their kind, which all parts here keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL, Segprint
from trainables import contracts
from trainables.config import parse
from trainables.parsing import parse_part
from trainables.part import KINDS, names

BUILT_IN = [(kind, name) for kind in KINDS for name in names(kind)]


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_every_choice_keeps_the_rules_of_its_kind(kind: str, name: str) -> None:
    contracts.check(parse_part(kind, name))


HEAD = """
from dataclasses import dataclass
from typing import Any, ClassVar
import numpy as np
import torch
from trainables.datasets import Dataset, Raster, Source
from trainables.encodings import Encoding
from trainables.losses import Loss
from trainables.metrics import Metric
from trainables.models import Model
from trainables.modes.feedforward import FeedForward
from trainables.samplers import Sampler
from trainables.schedules import Schedule
from trainables.weights import Weight

@dataclass(frozen=True)
"""
DATA = """
class Mine(Dataset):
    licence: ClassVar[str] = "none"
    citation: ClassVar[str] = "none"
    size: int = 16
    channels: ClassVar[int] = 1
    classes: ClassVar[Any] = ("background", "disc")
"""
METRIC = """
class Mine(Metric):
    table: ClassVar = "cases"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    def value(self, sums):
        return sums["tp"]
"""
SCHEDULE = "class Mine(Schedule):\n    def log_snr(self, t):\n        return "
SAMPLER = (
    "class Mine(Sampler):\n    def advance(self, x, here, before, there, noise):\n        return "
)
WEIGHT = "class Mine(Weight):\n    def on(self, log_snr, target):\n        return "
LOSS = "class Mine(Loss):\n    def value(self, p, mask, labels):\n        return "

BROKEN = [
    ("schedules", SCHEDULE + "8 * t - 4", "log_snr must fall strictly with t, it goes from -4 at"),
    ("schedules", SCHEDULE + "4 - 8 * t**3 * 0 - 0 * t", "must fall strictly"),
    ("schedules", SCHEDULE + "1 / t", "log_snr(t) must be finite, it has a NaN or inf"),
    ("schedules", SCHEDULE + "4.0", "log_snr(t) must return a tensor, not float"),
    ("schedules", SCHEDULE + "4 - t.numpy() * missing", ", line 19: NameError: name 'missing'"),
    ("schedules", SCHEDULE + "4 - t / t.max()", "must depend on each t alone"),
    ("schedules", "class Mine(Schedule):\n    x: int = 1", "Mine must define log_snr"),
    ("datasets", DATA, "Mine must define scan"),
    (
        "datasets",
        DATA.replace('("background", "disc")', '"disc"') + "    def scan(self): yield",
        "classes must be two names or more, the background first, not 'disc'",
    ),
    (
        "datasets",
        DATA.replace("channels: ClassVar[int] = 1", "channels: ClassVar[int] = 0")
        + "    def scan(self): yield",
        "channels must be a positive number, not 0",
    ),
    ("metrics", METRIC.replace('sums["tp"]', '"good"'), "not str"),
    ("metrics", METRIC.replace('sums["tp"]', 'sums["tp"].mean()'), "not float64"),
    ("metrics", METRIC.replace('sums["tp"]', 'sums["tq"]'), "KeyError: 'tq'"),
    ("metrics", METRIC.replace('"cases"', '"case"'), "table='case' must be one of cases,"),
    ("metrics", METRIC.replace('"higher"', '"more"'), "better='more' must be 'higher' or 'lower'"),
    ("metrics", METRIC.replace("    pooled: ClassVar = False\n", ""), "pooled=None must be True"),
    ("losses", LOSS + 'p.mean() * float("nan")', "must return the shape (2,), not ()"),
    ("losses", LOSS + 'p.flatten(1).mean(1) * float("nan")', "must be finite, it has a NaN"),
    ("losses", LOSS + "(p * 0).flatten(1).sum(1).sqrt()", "the gradient of value"),
    ("samplers", SAMPLER.replace(", noise)", ")") + "x", "TypeError:"),
    ("samplers", SAMPLER + 'x * float("nan")', "advance(...) must be finite"),
    ("samplers", SAMPLER + "x[:, :, :2]", "must return the shape (1, 1, 4, 4)"),
    ("weights", WEIGHT + "-log_snr.exp()", "on(log_snr, 'x0') must be positive"),
    (
        "models",
        "class Mine(Model):\n    def build(self, ports): return None\n"
        "    @property\n    def stride(self): return 'four'",
        "stride must be a positive number, not 'four'",
    ),
    (
        "modes",
        "class Mine(FeedForward):\n    def losses(self, *rest):\n"
        "        return super().losses(*rest) * float('nan')",
        "losses(...) must be finite",
    ),
]


@pytest.mark.parametrize(("kind", "source", "rule"), BROKEN)
def test_a_broken_part_is_one_line_that_names_the_file_and_the_rule(
    tmp_path: Path, kind: str, source: str, rule: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(HEAD + source + "\n")
    with pytest.raises(ValueError, match=r"mine\.py") as raised:
        contracts.check(parse_part(kind, str(file)))
    assert rule in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_frozen_dataclass_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    for head in (HEAD.replace("@dataclass(frozen=True)", ""), HEAD.replace("frozen=True", "")):
        file.write_text(head + SCHEDULE + "4 - 8 * t\n")
        (tmp_path / "other").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=r"mine.py': Mine must be a @dataclass\(frozen=True\)"):
            parse_part("schedules", str(file))


def test_a_part_that_keeps_the_rules_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(HEAD + SCHEDULE + "4 - 8 * t\n")
    mode = {"diffusion": {"schedule": str(file)}}
    assert parse({**SMALL, "mode": mode}).mode.schedule_name == "mine"


@pytest.mark.parametrize("verb", ["plan", "run", "sweep"])
def test_nothing_trains_with_a_broken_part(inline: Segprint, tmp_path: Path, verb: str) -> None:
    (tmp_path / "rising.py").write_text(HEAD + SCHEDULE + "8 * t - 4\n")
    arms: dict[str, Any] = {"a": {"mode": {"diffusion": {"schedule": "./rising.py"}}}}
    space = f"from search_spaces import Space\nSPACE = Space('?', {SMALL!r}, {arms!r}, gpus=0)\n"
    (tmp_path / "study.py").write_text(space)
    done = inline(verb, "./study.py")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "rising.py" in line
    assert "log_snr must fall strictly with t" in line
    assert not (tmp_path / "results").exists()


def test_an_item_of_a_scan_that_is_no_image_is_named(inline: Segprint, tmp_path: Path) -> None:
    (tmp_path / "pairs.py").write_text(HEAD + DATA + "    def scan(self): yield 'a', 'b'\n")
    done = inline("data", "check", "./pairs.py")
    assert done.returncode == 1
    assert "scan() must yield Source or Problem, not tuple" in done.stdout
    task = {"task": "./pairs.py", "model": "intensity", "mode": "feedforward"}
    space = f"from search_spaces import Space\nSPACE = Space('?', {task!r}, gpus=0)\n"
    (tmp_path / "study.py").write_text(
        space.replace("gpus=0", "arms={'a': {'train.steps': 0}}, gpus=0")
    )
    planned = inline("plan", "./study.py")
    assert "scan() must yield Source or Problem, not tuple" in planned.stderr
