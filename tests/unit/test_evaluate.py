"""Held-out cases at native size: overlapping windows, readings, and what is counted of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import Config
from trainables.controls import partner
from trainables.data import Prepared, prepare
from trainables.evaluation import counts, evaluate, predict
from trainables.models import Network
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.tiling import Canvas, windows
from trainables.training.state import State

Small = Callable[..., Config]


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    size=st.integers(1, 16),
    overlap=st.floats(0, 0.9),
)
def test_windows_cover_an_image_and_their_blend_gives_it_back(
    height: int, width: int, size: int, overlap: float
) -> None:
    image = torch.rand(2, height, width)
    canvas = Canvas((2,), height, width)
    laid = windows(height, width, size, overlap)
    for window in laid:
        canvas.add(window, window.cut(image))
    torch.testing.assert_close(canvas.mean(), image)
    for a, b in itertools.pairwise(laid):
        if a.top == b.top:
            assert b.left - a.left <= max(1, size * (1 - overlap)) + 1


def intensity(small: Small, unit: str) -> tuple[Config, Prepared, Network]:
    config = small(
        task="histology",
        model="intensity",
        mode="feedforward",
        train={"steps": 0},
        test={"unit": unit, "overlap": 0.3},
    )
    data = prepare(config.task, unit)
    return config, data, State(Run(config, WorkerContext(), data)).best


def test_an_image_at_native_size_is_read_as_by_a_pixelwise_network_in_one_go(small: Small) -> None:
    """The grey-level table sees single pixels, so windows must change nothing."""
    config, data, network = intensity(small, "images")
    rows = evaluate.measure(Run(config, WorkerContext(), data), network, "test")
    assert [r["case"] for r in rows.cases] == [c.name for c in data.test]
    for case, row in zip(data.test, rows.cases, strict=True):
        blind = torch.zeros(1, 1, *case.labels.shape)
        p = network(blind, torch.zeros(1), case.image[None]).main.sigmoid()[0, 0]
        assert (row["tp"], row["fp"]) == (
            int(((p > 0.5) & (case.labels == 1)).sum()),
            int(((p > 0.5) & (case.labels == 0)).sum()),
        )


def test_tiles_and_images_count_the_same_pixels_and_instances(small: Small) -> None:
    totals = []
    for unit in ("tiles", "images"):
        config, data, network = intensity(small, unit)
        rows = evaluate.measure(Run(config, WorkerContext(), data), network, "test")
        totals.append({k: sum(r[k] for r in rows.cases) for k in ("tp", "fp", "fn", "tn")})
        true = [r["true_instances"] for r in rows.instances]
        expected = [len(c.instances.unique()) - 1 for c in data.test if c.instances is not None]
        assert true == expected
    assert totals[0] == totals[1]


def test_the_shares_of_two_workers_are_the_whole(small: Small) -> None:
    config = small(test={"controls": ["shuffled_image"]})
    data = prepare(config.task, "tiles")
    network = State(Run(config, WorkerContext(), data)).best
    one = evaluate.measure(Run(config, WorkerContext(), data), network, "test")
    two = [
        evaluate.measure(Run(config, WorkerContext(r, 2), data), network, "test") for r in range(2)
    ]

    def keyed(rows: list[dict[str, object]]) -> dict[object, object]:
        return {(r["case"], r["reading"]): r["tp"] for r in rows}

    assert keyed(one.cases) == keyed(two[0].cases) | keyed(two[1].cases)


def test_readings_under_a_control_are_rows_of_their_own(small: Small) -> None:
    _, data, network = intensity(small, "tiles")
    wanted = small(
        task="histology",
        model="intensity",
        mode="feedforward",
        train={"steps": 0},
        test={"controls": ["shuffled_image", "dropped_image"]},
    )
    sample = evaluate.measure(Run(wanted, WorkerContext(), data), network, "test")
    under = evaluate.measure_controls(Run(wanted, WorkerContext(), data), network)
    by = {
        r: [row for row in sample.cases + under.cases if row["reading"] == r]
        for r in ("sample", "shuffled_image", "dropped_image")
    }
    assert {len(v) for v in by.values()} == {len(data.test)}
    shown = [data.test[partner(i, len(data.test))] for i in range(len(data.test))]
    for row, case in zip(by["shuffled_image"], shown, strict=True):
        blind = torch.zeros(1, 1, *case.labels.shape)
        p = network(blind, torch.zeros(1), case.image[None]).main[0, 0] > 0
        assert row["tp"] + row["fp"] == int(p.sum())
    assert all(row["tp"] + row["fp"] in (0, 64 * 64) for row in by["dropped_image"])
    shapes = [
        [(row["case"], row["edges"], row["pairs"], row["objects"]) for row in rows]
        for rows in by.values()
    ]
    assert shapes[0] == shapes[1] == shapes[2]  # of the true mask, whatever the network was shown
    assert {pairs for _, _, pairs, _ in shapes[0]} == {2 * 64 * 63}


def test_a_partner_is_another_case_and_everybody_has_one() -> None:
    for count in (2, 3, 8):
        partners = [partner(i, count) for i in range(count)]
        assert sorted(partners) == list(range(count))
        assert all(i != p for i, p in enumerate(partners))
    with pytest.raises(ValueError, match="needs 2 cases or more, there are 1"):
        partner(0, 1)


def test_the_auxiliary_output_and_the_blend_are_apart_from_the_sample(small: Small) -> None:
    from tests.small import MODELS

    config = small(model={"medsegdiff_new": MODELS["medsegdiff_new"]}, train={"steps": 0})
    data = prepare(config.task, "tiles")
    run = Run(config, WorkerContext(), data)
    rows = evaluate.measure(run, State(run).best, "test")
    assert {r["reading"] for r in rows.cases} == {"sample", "auxiliary", "blend"}
    assert len(rows.samples) == len(data.test)


def test_the_boundary_is_read_of_the_samples_pixels_near_it(small: Small) -> None:
    """Against the histogram of the same probabilities, cut to a band by hand."""
    config = small(mode="feedforward", train={"steps": 0})
    data = prepare(config.task, "tiles")
    run = Run(config, WorkerContext(), data)
    network = State(run).best
    rows = evaluate.measure(run, network, "test")
    assert {r["reading"] for r in rows.calibration} == {"sample", "boundary"}
    assert {r["reading"] for r in rows.cases} == {"sample"}
    shown = predict.predictions(run, network, data.test, range(len(data.test)))
    for case, p in shown:
        truth = case.labels == 1
        near = np.zeros(truth.shape, bool)
        edge = truth.numpy()
        for i, j in np.ndindex(*near.shape):
            window = edge[max(i - 3, 0) : i + 4, max(j - 3, 0) : j + 4]
            at = np.argwhere(window != edge[i, j]) - [min(i, 3), min(j, 3)]
            near[i, j] = bool((np.square(at).sum(1) <= 9).any())
        expected = counts.histogram(p.members.mean(1)[0, 0][near], truth[near])
        mine = [r for r in rows.calibration if (r["case"], r["reading"]) == (case.name, "boundary")]
        assert [{k: r[k] for k in expected[0]} for r in mine] == expected


@pytest.mark.parametrize("members", [1, 4])
def test_the_members_of_a_twin_are_spread_as_a_diffusion_ensemble_is(
    small: Small, members: int
) -> None:
    """Any weights at random say something else of each view; a member is alike with itself."""
    config = small(mode={"feedforward": {"members": members}}, train={"steps": 0})
    data = prepare(config.task, "tiles")
    network = State(Run(config, WorkerContext(), data)).best
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    rows = evaluate.measure(Run(config, WorkerContext(), data), network, "test").samples
    assert {row["member_pairs"] for row in rows} == {members**2}
    for row in rows:
        assert (row["member_iou_sum"] == row["member_pairs"]) == (members == 1)


@pytest.mark.parametrize("task", ["histology", "brain"])
def test_a_case_is_scored_by_the_dice_of_its_rows_on_whichever_worker(
    small: Small, task: str
) -> None:
    config = small(task=task, model="intensity", mode="feedforward", train={"steps": 0})
    data = prepare(config.task, "tiles")
    network = State(Run(config, WorkerContext(), data)).best
    rows = evaluate.measure(Run(config, WorkerContext(), data), network, "val").cases
    expected: dict[str, list[float]] = {}
    for row in rows:
        both, either = 2 * row["tp"], 2 * row["tp"] + row["fp"] + row["fn"]
        expected.setdefault(row["case"], []).append(both / either if either else 1.0)
    whole = evaluate.score(Run(config, WorkerContext(), data), network)
    assert whole.tolist() == [expected[case.name] for case in data.val]
    shares = [
        evaluate.score(Run(config, WorkerContext(rank, 2), data), network) for rank in range(2)
    ]
    assert torch.equal(shares[0] + shares[1], whole)
