"""What every named space and cluster owes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import cluster
import search_spaces
from orchestrator.planning.validation import check


@pytest.mark.parametrize("name", search_spaces.names())
def test_every_corner_of_every_cell_is_a_valid_config(name: str) -> None:
    _, space = search_spaces.load(name)
    assert len(check(space)) >= 1


@pytest.mark.parametrize("name", search_spaces.names())
def test_says_its_question_its_cost_and_what_to_expect(name: str) -> None:
    text = search_spaces.file_of(name).read_text(encoding="utf-8")
    assert "Cost:" in text
    assert "Expect" in text


def test_the_plain_unets_beside_the_paper_are_as_large_as_its_networks() -> None:
    by_arm: dict[str, list[tuple[str, int]]] = {"unet": [], "feedforward": []}
    for cell in check(search_spaces.load("paper")[1]):
        if cell.arm in by_arm:
            config = cell.config({}, {}, seed=0)
            with torch.device("meta"):
                network = config.model.build(config.ports)
            size = sum(p.numel() for p in network.parameters())
            by_arm[cell.arm].append((config.task.name, size))
    assert len(by_arm["unet"]) == 9
    for (task, plain), (same, twin) in zip(by_arm["unet"], by_arm["feedforward"], strict=True):
        assert task == same
        assert plain == pytest.approx(twin, rel=0.03)


def test_listing_spaces_imports_nothing_heavy() -> None:
    code = (
        "import sys, search_spaces; [search_spaces.load(n) for n in search_spaces.names()];"
        "print(*{'torch', 'ray', 'optuna', 'pyarrow', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", cluster.names())
def test_every_cluster_loads_by_its_name(name: str) -> None:
    assert isinstance(cluster.load(name), cluster.Cluster | cluster.Remote)


def test_an_unknown_cluster_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"unknown cluster 'locl'; did you mean 'local'\?"):
        cluster.load("locl")
