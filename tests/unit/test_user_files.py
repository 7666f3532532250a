"""A user's file, of any kind, is loaded as Python loads a module, and fails with one line."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import SMALL, Segprint
from tests.spaces import MODEL
from trainables.decoding.cache import forget
from trainables.parsing import parse_part
from trainables.part import part_class
from trainables.schedules import Schedule

SPACE = f"from search_spaces import *\nSPACE = Space('?', {SMALL!r})\n"
CLUSTER = "from cluster.local import Local\nCLUSTER = Local(cpus=2)\n"
DATASET = """
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.datasets import SPLITS, Dataset, Raster, Source


@dataclass(frozen=True)
class Squares(Dataset):
    licence: ClassVar[str] = "none needed"
    citation: ClassVar[str] = "generated"
    classes: ClassVar = ("background", "square")
    channels: ClassVar = 1
    size: int = 16

    def scan(self) -> Iterator[Source]:
        for split in SPLITS:
            labels = np.zeros((16, 16), np.uint8)
            labels[4:9, 4:9] = 1
            yield Source.of(split, split, split, Raster(labels[None] * 100, labels))
"""
SCHEDULE = """
from dataclasses import dataclass
from torch import Tensor
from trainables.schedules import Schedule

@dataclass(frozen=True)
class Line(Schedule):
    def log_snr(self, t: Tensor) -> Tensor:
        return TOP - 2 * TOP * t
"""
KINDS = {
    "space": (SPACE, ["plan", "./mine.py", "--json"]),
    "cluster": (CLUSTER, ["doctor", "--on", "./mine.py", "--json"]),
    "dataset": (DATASET, ["data", "check", "./mine.py", "--json"]),
}
"""The source of a sound file of each kind, and a command that loads it."""


def use(call: Segprint, folder: Path, kind: str, before: str, **env: str) -> tuple[int, str, str]:
    """Run a command on a file of a kind that begins with ``before``; return code and outputs."""
    source, command = KINDS[kind]
    (folder / "mine.py").write_text(before + source, encoding="utf-8")
    part_class.cache_clear()
    done = call(*command, **env)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("import sys\nsys.exit(0)\n", "line 2: SystemExit: 0"),
        ("x = 1\nx.y\n", "line 2: AttributeError: 'int' object has no attribute 'y'"),
        ("import numbers_that_lack\n", "line 1: ModuleNotFoundError: No module named 'numbers_"),
        ("\nx = (1,\ny = 2\n", "line 2: SyntaxError: '(' was never closed"),
        ("def f():\n    raise ValueError('a\\nb')\n\nf()\n", "line 2: ValueError: a b"),
        ("import json\n\njson.loads('{')\n", "line 3: JSONDecodeError: Expecting property"),
        ("raise BaseException\n", "line 1: BaseException"),
        ("import my_blocks\n", "/my_blocks.py, line 2): ZeroDivisionError: division by zero"),
    ],
)
def test_an_error_is_one_line_with_its_line_number(
    inline: Segprint, tmp_path: Path, kind: str, before: str, message: str
) -> None:
    (tmp_path / "my_blocks.py").write_text("\n1 / 0\n")
    loaded = set(sys.modules)
    code, output, errors = use(inline, tmp_path, kind, before)
    assert (code, output) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith(f"segprint: {kind} './mine.py'")
    assert message in line
    new = sys.modules.keys() - loaded
    assert not [name for name in new if name.endswith((".mine", ".my_blocks"))]


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_is_one_line_and_130(inline: Segprint, tmp_path: Path, kind: str) -> None:
    code, output, errors = use(inline, tmp_path, kind, "raise KeyboardInterrupt\n")
    assert (code, output) == (130, "")
    (line,) = errors.splitlines()
    assert line.startswith(f"segprint: stopped at {kind} './mine.py', line 1: KeyboardInterrupt")


NOISY = """\ufefffrom __future__ import annotations
import os, warnings
from dataclasses import dataclass, fields, KW_ONLY
print("a line for people")
warnings.warn("old\\nnews", UserWarning)
os.chdir("/")

@dataclass
class Mine:
    x: int
    _: KW_ONLY
    y: int = 2

Mine(1, y=3)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_output_stays_json_whatever_a_file_prints_warns_or_changes(
    inline: Segprint, tmp_path: Path, kind: str, recwarn: pytest.WarningsRecorder
) -> None:
    _, output, errors = use(inline, tmp_path, kind, NOISY)
    json.loads(output)
    lines = errors.splitlines()
    assert "a line for people" in lines
    assert f"segprint: {kind} './mine.py', line 5: UserWarning: old news" in lines
    assert Path.cwd() == tmp_path
    assert not (tmp_path / "__pycache__").exists()


SCAN = "        for split in SPLITS:"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("        x = 1\n        x.y\n", "line 21: AttributeError: 'int' object has no attribute"),
        ("        raise ValueError('a\\nb')\n", "line 20: ValueError: a b"),
        ("        open('/nowhere')\n", "line 20: FileNotFoundError: [Errno 2]"),
        ("        raise SystemExit(0)\n", "line 20: SystemExit: 0"),
        ("        import not_there\n", "line 20: ModuleNotFoundError: No module named 'not_th"),
    ],
)
def test_an_error_while_a_data_set_is_scanned_is_one_line_with_its_line_number(
    inline: Segprint, tmp_path: Path, lines: str, message: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(DATASET.replace(SCAN, lines + SCAN))
    config = {**SMALL, "task": str(file)}
    (tmp_path / "space.py").write_text(SPACE.replace(repr(SMALL), repr(config)))
    for command in (["plan", "./space.py"], ["run", "./space.py"], ["sweep", "./space.py"]):
        done = inline(*command)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"segprint: dataset '{file}', {message}")
    checked = inline("data", "check", str(file), "--json")
    if "SystemExit" in message:
        assert (checked.returncode, checked.stdout) == (2, "")
    else:
        (problem,) = json.loads(checked.stdout)["problems"]
        assert problem["problem"].startswith(f"dataset '{file}', {message}")


def test_an_error_in_a_network_is_recorded_with_its_file_and_line(
    inline: Segprint, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(MODEL.replace("return OneLayer(self, ports)", "return 1 / 0"))
    config = {**SMALL, "model": "./net.py", "mode": "feedforward"}
    (tmp_path / "space.py").write_text(SPACE.replace(repr(SMALL), repr(config)))
    row = json.loads(inline("run", "./space.py", "--json").stdout)
    assert row["outcome"] == "failed"
    assert row["reason"] == "ZeroDivisionError: division by zero (model './net.py', line 20)"


LOUD = """
        import os, subprocess
        print("printed")
        os.write(1, b"written by C code\\n")
        subprocess.run(["echo", "printed by a child"])
        return OneLayer(self, ports)
"""


@pytest.mark.parametrize("options", [["--json"], []], ids=str)
def test_stdout_has_the_answer_only_whatever_writes_to_its_descriptor(
    segprint: Segprint, tmp_path: Path, options: list[str]
) -> None:
    (tmp_path / "net.py").write_text(MODEL.replace("        return OneLayer(self, ports)", LOUD))
    config = {**SMALL, "model": "./net.py", "mode": "feedforward"}
    (tmp_path / "space.py").write_text(SPACE.replace(repr(SMALL), repr(config)))
    done = segprint("run", "./space.py", *options)
    assert done.returncode == 0, done.stderr
    for line in ("printed", "written by C code", "printed by a child"):
        assert line in done.stderr.splitlines()
    if options:
        assert json.loads(done.stdout)["outcome"] == "finished"
    else:
        *progress, end = done.stdout.splitlines()
        assert all(line.startswith("step ") for line in progress)
        assert ": finished, best validation Dice" in end


def test_an_edit_within_a_second_that_keeps_the_size_is_seen(
    inline: Segprint, tmp_path: Path
) -> None:
    """Python's compiled copies would hide it."""
    for question in ("a?", "b?"):
        file = tmp_path / "mine.py"
        file.write_text(SPACE.replace("'?'", repr(question)))
        os.utime(file, (1e9, 1e9))
        assert json.loads(inline("show", "./mine.py", "--json").stdout)["question"] == question


NEIGHBOUR = "from my_blocks import TOP\n" + SCHEDULE


def schedule(folder: Path, top: float, source: str = NEIGHBOUR) -> str:
    """Write a schedule that takes a number from its neighbour, and return its path."""
    folder.mkdir(exist_ok=True)
    (folder / "line.py").write_text(source)
    (folder / "my_blocks.py").write_text(f"TOP = {top}\n")
    part_class.cache_clear()
    return str(folder / "line.py")


def start(path: str) -> float:
    """Return the log-SNR at t = 0 of a schedule in a file."""
    part = parse_part("schedules", path)
    assert isinstance(part, Schedule)
    return float(part.log_snr(torch.zeros(1)))


def test_neighbours_of_one_name_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    paths = [schedule(tmp_path / name, top) for name, top in (("a", 4.0), ("b", 7.0))]
    assert [start(path) for path in paths] == [4.0, 7.0]
    assert "my_blocks" not in sys.modules


@pytest.mark.parametrize(
    "lines",
    [
        "import my_blocks\nTOP = my_blocks.TOP\n",
        "from . import my_blocks\nTOP = my_blocks.TOP\n",
        "from .my_blocks import TOP\n",
        "import blocks.deep\nTOP = blocks.deep.TOP\n",
        "from blocks import deep\nTOP = deep.TOP\n",
        "import plain.deep as d\nTOP = d.TOP\n",
        "import json\nassert json.loads\nfrom my_blocks import *\n",
    ],
)
def test_neighbours_are_imported_as_in_a_script(tmp_path: Path, lines: str) -> None:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks/__init__.py").write_text("import my_blocks\n")
    (tmp_path / "blocks/deep.py").write_text("from my_blocks import TOP\nfrom . import my_name\n")
    (tmp_path / "blocks/my_name.py").write_text("")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/deep.py").write_text("from my_blocks import TOP\n")
    (tmp_path / "json.py").write_text("raise ImportError('the standard library has this name')\n")
    assert start(schedule(tmp_path, 3.0, lines + SCHEDULE)) == 3.0


def test_a_file_with_the_name_of_a_library_imports_the_library(tmp_path: Path) -> None:
    path = tmp_path / "yaml.py"
    path.write_text("import yaml\nTOP = yaml.safe_load('5.0')\n" + SCHEDULE)
    assert start(str(path)) == 5.0


def test_a_neighbour_enters_the_version_and_nothing_else_does(tmp_path: Path) -> None:
    def version(top: float, source: str = NEIGHBOUR) -> int | str:
        return part_class("schedules", schedule(tmp_path, top, source)).version

    first = version(3.0)
    (tmp_path / "other.py").write_text("x = 1\n")
    assert version(3.0) == first
    assert version(4.0) != first
    alone = "TOP = 3.0\n" + SCHEDULE
    expected = hashlib.sha256(alone.encode()).hexdigest()[:12]
    assert (version(3.0, alone), version(4.0, alone)) == (expected, expected)


def test_a_neighbour_that_is_imported_late_is_refused_with_the_cure(tmp_path: Path) -> None:
    """The version of the part does not include it."""
    late = SCHEDULE.replace("        return", "        from my_blocks import TOP\n        return")
    with pytest.raises(ImportError, match=r"my_blocks.py must be imported at the top of line.py"):
        start(schedule(tmp_path, 3.0, late))


def test_a_neighbour_is_found_by_a_run_from_another_directory(
    inline: Segprint, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(SPACE)
    path = schedule(tmp_path / "lib", 5.0)
    run = ("run", "./mine.py", "--set", f"mode.diffusion.schedule={path}", "--json")
    row = json.loads(inline(*run).stdout)
    assert row["outcome"] == "finished"
    assert row["config"]["mode"]["diffusion"]["schedule"] == {path: {}}
    again = inline(*run[:-1]).stdout
    assert "; it was committed before, and nothing was trained" in again


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CLUSTER = Slurm\n", "must define CLUSTER = Slurm(...)"),
        ("CLUSTER = 'slurm'\n", "must define CLUSTER = Slurm(...)"),
        ("CLUSTER = Slurm(nodes='2')\n", "line 3: ValueError: Slurm: nodes='2' must be a whole"),
        ("CLUSTER = Slurm(env=3)\n", "Slurm: env=3 must be a mapping from text to text"),
        ("CLUSTER = Slurm(hours=float('nan'))\n", "Slurm: hours=nan must be a finite number"),
        ("CLUSTER = Local(cpus='2')\n", "Local: cpus='2' must be a whole number"),
        (
            "class Mine(Slurm, Local):\n    pass\nCLUSTER = Mine(1, 2)\n",
            "line 5: ValueError: Mine: name=1 must be text",
        ),
        ("class Mine(Remote):\n    pass\nCLUSTER = Mine()\n", "line 5: TypeError: Can't instant"),
    ],
)
def test_a_bad_cluster_of_the_users_own_is_one_line(
    inline: Segprint, tmp_path: Path, text: str, message: str
) -> None:
    imports = "from cluster.local import Local\nfrom cluster.slurm import Remote, Slurm\n"
    (tmp_path / "mine.py").write_text(imports + text)
    (tmp_path / "space.py").write_text(SPACE)
    done = inline("sweep", "./space.py", "--on", "./mine.py")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert message in line


def test_a_cluster_may_have_fields_of_any_type(inline: Segprint, tmp_path: Path) -> None:
    (tmp_path / "space.py").write_text(SPACE)
    (tmp_path / "mine.py").write_text(
        """
from __future__ import annotations
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Optional
from cluster.slurm import Slurm

@dataclass(frozen=True)
class Mine(Slurm):
    a: list[str] | None = None
    b: Literal["x"] = "x"
    c: Optional[int] = None
    d: Callable[[int], int] = abs

CLUSTER = Mine()
"""
    )
    done = inline("--store", "s3://b/x", "submit", "./mine.py", "./space.py", "--dry-run")
    assert done.returncode == 0, done.stderr


def test_as_names_the_study_of_a_file_wherever_it_is_used(inline: Segprint, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SPACE)
    planned = json.loads(inline("plan", "./mine.py", "--as", "other", "--json").stdout)
    assert planned["study"] == "other"
    to = ("--store", "s3://b/x", "submit", "slurm", "./mine.py", "--most", "9")
    sent = inline(*to, "--as", "other", "--dry-run").stdout
    assert "sweep mine.py --on existing --as other --most 9" in sent
    assert "segprint-other" in sent
    refused = inline("plan", "./mine.py", "--as", "a-b")
    assert refused.returncode == 2
    assert refused.stderr == "segprint: --as 'a-b' must be a Python identifier\n"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TMPDIR": "/tmp/" + "n" * 100}, "TMPDIR=/tmp/nnn"),
        ({"RAY_TMPDIR": "/tmp/" + "ü" * 25}, "at most 107 are possible; set RAY_TMPDIR to a"),
        ({"HOME": "/proc"}, "HOME=/proc: Ray cannot create /proc/.ray"),
    ],
)
def test_a_directory_that_ray_cannot_use_is_named_before_anything_starts(
    inline: Segprint, tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    (tmp_path / "mine.py").write_text(SPACE.replace("})\n", "}, gpus=0)\n"))
    done = inline("sweep", "./mine.py", **variables)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line
    assert "; set " in line
    assert not (tmp_path / "results/studies").exists()


def test_a_cache_that_cannot_be_written_is_named_with_its_variable(
    inline: Segprint, tmp_path: Path
) -> None:
    forget()
    done = inline("plan", "quickstart", SEGPRINT_CACHE="/proc/cache")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("segprint: /proc/cache/")
    assert "set SEGPRINT_CACHE to a directory that can be written" in line
