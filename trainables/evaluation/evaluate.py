"""Evaluates a network on held-out cases: additive rows of counts, calibration and diversity."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from trainables import masks
from trainables.controls import Control
from trainables.data import Case, wholes
from trainables.datasets import Split
from trainables.evaluation import temperature
from trainables.evaluation.case_rows import CaseRows
from trainables.evaluation.counts import counts
from trainables.evaluation.predict import predictions
from trainables.metrics.dice import Dice
from trainables.models import Network
from trainables.modes import Prediction
from trainables.rows import Rows
from trainables.run import Run
from trainables.torch_calls import from_array

COUNTS: tuple[Literal["tp", "fp", "fn", "tn"], ...] = ("tp", "fp", "fn", "tn")


def measure(run: Run, network: Network, split: Split) -> Rows:
    """Return the rows of this worker's share of the cases in a split."""
    config, cases = run.config, run.data.cases(split)
    rows = Rows()
    for slices in _by_case(
        predictions(run, network, cases, run.share(cases), config.train.control)
    ):
        of_case = CaseRows(config, split)
        for case, p in slices:
            mean = p.members.mean(1)
            readings = {"sample": mean}
            if p.auxiliary is not None:
                readings |= {"auxiliary": p.auxiliary, "blend": (mean + p.auxiliary) / 2}
            of_case.add(case, readings)
            of_case.add_ensemble(mean, p.members[0])
        rows.extend(of_case.finish())
    return rows


def measure_controls(run: Run, network: Network) -> Rows:
    """Return the rows of this worker's share of the test cases under each control."""
    rows = Rows()
    for control in run.config.test.controls:
        if control != "temperature":
            rows.extend(_measure_reading(run, network, control, control, lambda p: p))
    return rows


def validation_logits(run: Run, network: Network) -> list[temperature.LabelledLogits]:
    """Return the logits of this worker's validation cases, to fit a temperature to."""
    config, cases = run.config, run.data.val
    predicted = predictions(run, network, cases, run.share(cases), config.train.control)
    return [
        temperature.labelled_logits(p.members.mean(1), case.labels, config.classes)
        for case, p in predicted
    ]


def measure_scaled(run: Run, network: Network, fitted: float) -> Rows:
    """Return the rows of this worker's share of the test cases at a temperature."""
    control = run.config.train.control
    return _measure_reading(
        run, network, "temperature", control, lambda p: temperature.scaled(p, fitted)
    )


def score(run: Run, network: Network) -> Tensor:
    """Return the Dice of each validation case and foreground class, float64 [N, K].

    It is zero where another worker evaluates the case. An empty prediction of an empty mask counts
    as 1.
    """
    config, cases = run.config, run.data.val
    names = {name: n for n, name in enumerate(wholes(cases))}
    scores = torch.zeros(len(names), config.classes - 1, dtype=torch.float64)
    predicted = predictions(run, network, cases, run.share(cases), config.train.control)
    for slices in _by_case(predicted):
        sums, name = np.zeros((config.classes - 1, len(COUNTS))), ""
        for case, p in slices:
            which, name = masks.counted(case.labels), case.whole
            labels, truth = masks.to_labels(p.members.mean(1))[0][which], case.labels[which]
            for k in range(1, config.classes):
                row = counts(labels == k, truth == k)
                sums[k - 1] += [row[count] for count in COUNTS]
        dice = Dice().value(dict(zip(COUNTS, sums.T, strict=True)))
        scores[names[name]] = from_array(dice)
    return scores


def _measure_reading(
    run: Run, network: Network, reading: str, control: Control, read: Callable[[Tensor], Tensor]
) -> Rows:
    """Return the rows of one further reading of this worker's share of the test cases."""
    cases, rows = run.data.test, Rows()
    for slices in _by_case(predictions(run, network, cases, run.share(cases), control)):
        of_case = CaseRows(run.config, "test")
        for case, p in slices:
            of_case.add(case, {reading: read(p.members.mean(1))})
        rows.extend(of_case.finish())
    return rows


def _by_case(
    predicted: Iterable[tuple[Case, Prediction]],
) -> Iterator[Iterator[tuple[Case, Prediction]]]:
    """Yield the slices of each held-out case, with their predictions."""
    for _, slices in itertools.groupby(predicted, key=lambda pair: pair[0].whole):
        yield slices
