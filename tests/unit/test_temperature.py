"""Temperature scaling: a known temperature is found again, and what it does to a reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables import masks
from trainables.config import Config
from trainables.evaluation import temperature
from trainables.rows import Rows
from trainables.runtime.worker_context import WorkerContext
from trainables.training.loop import train

SIDE = 192


def drawn(classes: int) -> tuple[Tensor, Tensor]:
    """Logits [1, M, H, W], and labels drawn from exactly their probabilities."""
    draws = torch.Generator().manual_seed(3)
    logits = torch.randn(1, masks.channels(classes), SIDE, SIDE, generator=draws)
    p = masks.probabilities(logits)
    if classes == 2:
        return logits, (torch.rand(SIDE, SIDE, generator=draws) < p[0, 0]).byte()
    flat = p[0].flatten(1).T
    labels = torch.multinomial(flat, 1, generator=draws)
    return logits, labels.reshape(SIDE, SIDE).byte()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("known", [0.5, 1.0, 3.0])
def test_logits_that_were_scaled_are_scaled_back(classes: int, known: float) -> None:
    logits, labels = drawn(classes)
    sure = masks.probabilities(known * logits)
    found = temperature.fit([temperature.labelled_logits(sure, labels, classes)], lambda x: x)
    assert found == pytest.approx(known, rel=0.04)
    torch.testing.assert_close(
        temperature.scaled(sure, known), masks.probabilities(logits), atol=5e-3, rtol=0
    )


def test_many_cases_count_as_one_image_of_them_all() -> None:
    logits, labels = drawn(2)
    p, half = masks.probabilities(3 * logits), SIDE // 2
    halves = [
        temperature.labelled_logits(p[..., rows, :], labels[rows], 2)
        for rows in (slice(0, half), slice(half, SIDE))
    ]
    whole = temperature.fit([temperature.labelled_logits(p, labels, 2)], lambda x: x)
    assert temperature.fit(halves, lambda x: x) == pytest.approx(whole)


def test_a_network_that_is_never_wrong_stays_within_bounds() -> None:
    labels = (torch.arange(64).reshape(8, 8) % 2).byte()
    p = masks.probabilities((labels.float() - 0.5)[None, None])
    found = temperature.fit([temperature.labelled_logits(p, labels, 2)], lambda x: x)
    assert temperature.BOUNDS[0] <= found < 0.1


def rows_of(config: Config) -> Rows:
    run = train(config, WorkerContext())
    while True:
        try:
            next(run)
        except StopIteration as end:
            return end.value.rows


def test_the_reading_keeps_every_mask_and_costs_nothing_where_it_is_not_asked_for(
    small: Callable[..., Config],
) -> None:
    settings: dict[str, Any] = {
        "mode": "feedforward",
        "train": {"steps": 30, "batch": 4, "validate_every": 30},
    }
    plain = rows_of(small(**settings))
    asked = rows_of(small(**settings, test={"controls": ["temperature"]}))
    scaled = [row for row in asked.cases if row["reading"] == "temperature"]
    sample = [row for row in plain.cases if row["reading"] == "sample" and row["split"] == "test"]
    assert [{**row, "reading": "sample"} for row in scaled] == sample
    assert [row for row in asked.cases if row["reading"] != "temperature"] == plain.cases
    bins = {
        reading: [row for row in asked.calibration if row["reading"] == reading]
        for reading in ("sample", "temperature")
    }
    assert {row["split"] for row in bins["temperature"]} == {"test"}
    tested = [row for row in bins["sample"] if row["split"] == "test"]
    assert sum(r["p_sum"] for r in tested) != sum(r["p_sum"] for r in bins["temperature"])
    assert sum(r["count"] for r in tested) == sum(r["count"] for r in bins["temperature"])
