"""The image: installs what the Makefile does, runs as nobody special, and takes nothing else in."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

from cluster import Job
from cluster.kuberay import HOME, Kuberay
from orchestrator.provenance import PACKAGES
from tests.conftest import ROOT


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile with its arguments, lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines()]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line)]


def test_the_linter_finds_nothing() -> None:
    hadolint = str(Path(sys.executable).with_name("hadolint"))
    command = [hadolint, "--no-color", "--failure-threshold", "style", str(ROOT / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # It would find something: the same without what is left out on purpose.
    text = (ROOT / "Dockerfile").read_text().replace("hadolint ignore", "ignore")
    found = subprocess.run([hadolint, "-"], input=text, capture_output=True, text=True, check=False)
    assert "DL3008" in found.stdout


def test_the_image_installs_with_the_makefiles_constraints() -> None:
    recipe = (ROOT / "Makefile").read_text()
    (ours,) = (rest for word, rest in instructions() if "pip install" in rest)
    for flag in ("pip install --quiet", "--constraint constraints.txt"):
        assert flag in recipe
        assert flag.removeprefix("pip ") in ours
    assert "[dev]" not in ours


def test_the_image_is_pinned_and_its_last_user_is_the_pods() -> None:
    steps = instructions()
    bases = [rest.split()[0] for word, rest in steps if word == "FROM"]
    assert all(re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base) for base in bases)
    (user,) = (rest for word, rest in steps if word == "USER")
    (job,) = yaml.safe_load_all(Kuberay().files(Job("s", (), (), ()))["rayjob.yaml"])
    pod = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["securityContext"]
    assert user == f"{pod['runAsUser']}:{pod['runAsGroup']}"
    assert ("WORKDIR", HOME) in steps
    assert not any(word == "ADD" or "curl" in rest for word, rest in steps)


def test_only_what_is_copied_reaches_the_build() -> None:
    first, *rest = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] != "#"
    ]
    assert first == "*"
    allowed = {line[1:] for line in rest if line.startswith("!")}
    copied = {
        name
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    }
    assert allowed == copied
    assert allowed >= set(PACKAGES)
    links = (path for package in PACKAGES for path in (ROOT / package).rglob("*"))
    targets = {str(p.resolve().relative_to(ROOT)) for p in links if p.is_symlink()}
    assert targets <= allowed, "a package has a link to a file that the image lacks"
