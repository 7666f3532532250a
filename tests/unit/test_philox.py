"""Noise that is drawn on the device: Philox, its normal draws, and who draws which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trainables import batches
from trainables.config import Config
from trainables.data import prepared
from trainables.run import Run
from trainables.runtime.philox import normal, philox
from trainables.runtime.worker_context import WorkerContext

Small = Callable[..., Config]
ONES = 0xFFFFFFFF
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (*PI, (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]
"""Counters, keys and words from the authors' Random123."""
LARGE = (4, 64, 64)


@pytest.mark.parametrize(("counter", "key", "words"), PUBLISHED)
def test_the_generator_is_philox_4x32_10(
    counter: tuple[int, ...], key: tuple[int, int], words: tuple[int, ...]
) -> None:
    of_five: Any = tuple(torch.full((5,), word) for word in counter)
    for found, word in zip(philox(of_five, key), words, strict=True):
        assert found.tolist() == [word] * 5


def test_the_draws_are_those_of_box_and_muller() -> None:
    """In float64, from the same words."""
    zero = torch.zeros(1000, dtype=torch.int64)
    words = philox((torch.arange(1000), zero + 2, zero + 7, zero + 1), (5, 3))
    a, b, c, d = (w.double().numpy() for w in words)
    expected = [
        np.sqrt(-2 * np.log((u + 1) / 2**32)) * turn(2 * np.pi * v / 2**32)
        for u, v in ((a, b), (c, d))
        for turn in (np.cos, np.sin)
    ]
    found = normal(5 + (3 << 32), 7, 1, [2], (4000,), "cpu")[0].double().numpy()
    np.testing.assert_allclose(found, np.stack(expected, 1).ravel(), rtol=1e-4, atol=3e-6)


@pytest.mark.parametrize("seed", [0, 1, 2**40 + 7])
def test_the_draws_are_normal(seed: int) -> None:
    draws = normal(seed, 3, 0, range(16), LARGE, "cpu").double().flatten().numpy()
    assert stats.kstest(draws, "norm").pvalue > 1e-3
    assert stats.kstest(draws**2, stats.chi2(1).cdf).pvalue > 1e-3


def pairs_of_draws() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    def of(seed: int = 0, step: int = 5, purpose: int = 0, first: int = 0) -> torch.Tensor:
        return normal(seed, step, purpose, range(first, first + 16), LARGE, "cpu").double()

    here = of()
    rows, columns = here[..., :-1, :], here[..., :-1]
    return {
        "seeds": (here, of(seed=1)),
        "high words of seeds": (here, of(seed=1 << 32)),
        "steps": (here, of(step=6)),
        "purposes": (here, of(purpose=1)),
        "cases": (here, of(first=1)),
        "rows": (rows, here[..., 1:, :]),
        "columns": (columns, here[..., 1:]),
        "blocks": (here[..., :-4], here[..., 4:]),
        "channels": (here[:, :-1], here[:, 1:]),
        "squares of columns": (columns.square() - 1, here[..., 1:].square() - 1),
    }


def test_neighbours_of_every_kind_are_uncorrelated() -> None:
    """A correlation of n independent pairs is normal with deviation 1/√n: five of them at most."""
    for kind, (one, other) in pairs_of_draws().items():
        one, other = one.flatten(), other.flatten()  # noqa: PLW2901
        correlation = float((one * other).mean() / (one.std() * other.std()))
        assert abs(correlation) < 5 / len(one) ** 0.5, kind


@given(
    seed=st.integers(0, 2**62),
    step=st.integers(0, 10**9),
    batch=st.integers(1, 9),
    count=st.integers(1, 11),
    data=st.data(),
)
def test_a_draw_depends_on_its_place_and_on_no_other(
    seed: int, step: int, batch: int, count: int, data: st.DataObject
) -> None:
    whole = normal(seed, step, 0, range(batch), (count,), "cpu")
    places = data.draw(st.lists(st.integers(0, batch - 1), min_size=1))
    assert torch.equal(normal(seed, step, 0, places, (count,), "cpu"), whole[places])
    assert torch.equal(normal(seed, step, 0, range(batch), (count + 3,), "cpu")[:, :count], whole)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), step=st.integers(0, 10**6), batch=st.integers(4, 9))
def test_workers_draw_the_noise_of_their_images_as_one_worker_does(
    run_of: Callable[[int, int], Run], seed: int, step: int, batch: int
) -> None:
    run = run_of(seed, batch)
    alone = batches.draw(run, step)
    for world in (2, 4):
        for rank in range(world):
            worker = replace(run, context=WorkerContext(rank, world))
            share = batches.draw(worker, step)
            assert torch.equal(share.noise_BMHW, alone.noise_BMHW[rank::world])
            assert share.other_noise_BMHW is not None
            assert alone.other_noise_BMHW is not None
            assert torch.equal(share.other_noise_BMHW, alone.other_noise_BMHW[rank::world])
    larger = batches.draw(run_of(seed, batch + 3), step)
    assert torch.equal(larger.noise_BMHW[:batch], alone.noise_BMHW)
    assert not torch.equal(alone.noise_BMHW, alone.other_noise_BMHW)


@pytest.fixture(scope="module")
def run_of() -> Callable[[int, int], Run]:
    from tests.conftest import SMALL
    from trainables.config import parse

    def make(seed: int, batch: int) -> Run:
        train = {"steps": 2, "batch": batch, "control": "shuffled_image", "noise": "device"}
        config = parse({**SMALL, "train": train, "seed": seed})
        return Run(config, WorkerContext(), prepared(config))

    return make


def test_the_place_of_the_draws_changes_nothing_else(small: Small) -> None:
    drawn: list[Any] = []
    for noise in ("host", "device"):
        config = small(train={"steps": 2, "batch": 4, "noise": noise})
        drawn.append(batches.draw(Run(config, WorkerContext(), prepared(config)), 1)._asdict())
    host, device = drawn
    assert not torch.equal(host.pop("noise_BMHW"), device.pop("noise_BMHW"))
    for name, value in host.items():
        assert value is None or torch.equal(value, device[name])


@pytest.mark.parametrize("mode", ["feedforward", "image_only", "deep_ensemble"])
def test_the_place_of_draws_that_a_mode_does_not_use_is_no_part_of_its_identity(
    small: Small, mode: str
) -> None:
    host, device = (
        small(mode=mode, probe={"bins": 0}, train={"steps": 2, "batch": 4, "noise": noise})
        for noise in ("host", "device")
    )
    assert device.digest() == host.digest()
    assert device.training_digests == host.training_digests


def test_draws_on_the_host_are_those_of_stored_runs(small: Small) -> None:
    config = small()
    assert small(train={**config.plain()["train"], "noise": "host"}).digest() == config.digest()
    on_device = small(train={**config.plain()["train"], "noise": "device"})
    assert on_device.digest() != config.digest()
