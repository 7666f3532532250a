"""Evaluates a network on held-out cases: additive rows of counts, calibration and diversity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from trainables import masks
from trainables.config import Config
from trainables.data import Case
from trainables.datasets import Split
from trainables.evaluation import diversity, instances, temperature
from trainables.evaluation.counts import counts, histogram
from trainables.evaluation.predict import predictions
from trainables.metrics.dice import Dice
from trainables.models import Network
from trainables.rows import CaseKey, Rows
from trainables.run import Run


def measure(run: Run, network: Network, split: Split) -> Rows:
    """Return the rows of this worker's share of the cases in a split."""
    config, cases = run.config, run.data.cases(split)
    rows = Rows()
    for case, p in predictions(run, network, cases, run.share(cases), config.train.control):
        mean = p.members.mean(1)
        _add_reading(rows, config, case, split, "sample", mean)
        _add_diversity(rows, config, case, split, p.members[0])
        _add_instances(rows, config, case, split, mean)
        if p.auxiliary is not None:
            _add_reading(rows, config, case, split, "auxiliary", p.auxiliary)
            _add_reading(rows, config, case, split, "blend", (mean + p.auxiliary) / 2)
    return rows


def measure_controls(run: Run, network: Network) -> Rows:
    """Return the rows of this worker's share of the test cases under each control."""
    cases = run.data.test
    rows = Rows()
    for control in run.config.test.controls:
        if control == "temperature":
            continue
        for case, p in predictions(run, network, cases, run.share(cases), control):
            _add_reading(rows, run.config, case, "test", control, p.members.mean(1))
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
    config, cases = run.config, run.data.test
    rows = Rows()
    for case, p in predictions(run, network, cases, run.share(cases), config.train.control):
        scaled = temperature.scaled(p.members.mean(1), fitted)
        _add_reading(rows, config, case, "test", "temperature", scaled)
    return rows


def score(run: Run, network: Network) -> Tensor:
    """Return the Dice of each validation case and foreground class, float64 [N, K].

    It is zero where another worker evaluates the case. An empty prediction of an empty mask counts
    as 1.
    """
    config, cases = run.config, run.data.val
    scores = torch.zeros(len(cases), config.classes - 1, dtype=torch.float64)
    indices = run.share(cases)
    predicted = predictions(run, network, cases, indices, config.train.control)
    for i, (case, p) in zip(indices, predicted, strict=True):
        which = masks.counted(case.labels)
        labels, truth = masks.to_labels(p.members.mean(1))[0][which], case.labels[which]
        for k in range(1, config.classes):
            row = counts(labels == k, truth == k)
            sums = {name: np.array(value, float) for name, value in row.items()}
            scores[i, k - 1] = float(Dice().value(sums))
    return scores


def _keys(config: Config, case: Case, split: str) -> Iterator[tuple[int, CaseKey]]:
    """Yield each foreground class with the key columns of its row."""
    for k, label in enumerate(config.task.classes[1:], start=1):
        yield k, {"split": split, "case": case.name, "group": case.group, "class": label}


def _add_reading(
    rows: Rows, config: Config, case: Case, split: str, reading: str, p_1MHW: Tensor
) -> None:
    """Add the counts and the calibration of one prediction."""
    predicted, foreground = masks.to_labels(p_1MHW)[0], masks.foreground(p_1MHW)[0]
    which = masks.counted(case.labels)
    for k, key in _keys(config, case, split):
        truth = case.labels == k
        shape = instances.shape(truth, case.instances, which)
        confusion = counts((predicted == k)[which], truth[which])
        rows.cases.append({**key, "reading": reading, **confusion, **shape})
        bins = histogram(foreground[k - 1][which], truth[which])
        rows.calibration.extend({**key, "reading": reading, **sums} for sums in bins)
        if reading == "sample":
            band = instances.boundary_band(truth, which)
            bins = histogram(foreground[k - 1][band], truth[band])
            rows.calibration.extend({**key, "reading": "boundary", **sums} for sums in bins)


def _add_diversity(rows: Rows, config: Config, case: Case, split: str, p_NMHW: Tensor) -> None:
    """Add the IoU between the members of the ensemble, and between them and the annotation."""
    which = masks.counted(case.labels)
    predicted, truth = masks.to_labels(p_NMHW)[:, which], case.labels[which]
    for k, key in _keys(config, case, split):
        sums = diversity.row(predicted == k, (truth == k)[None])
        rows.samples.append({**key, **sums})


def _add_instances(rows: Rows, config: Config, case: Case, split: str, p_1MHW: Tensor) -> None:
    """Add the instances that the prediction found, for a case with true instances."""
    if case.instances is None:
        return
    which = masks.counted(case.labels)
    predicted = masks.to_labels(p_1MHW)[0]
    for k, key in _keys(config, case, split):
        truth = case.instances * (case.labels == k)
        sums = instances.row(instances.components((predicted == k) & which), truth)
        rows.instances.append({**key, **sums})
