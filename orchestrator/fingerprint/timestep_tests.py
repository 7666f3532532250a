"""Tests of a model's errors over timesteps, shared by the claims and the failure signs.

Öttl et al. 2024 (arXiv 2403.14440): at some timesteps the image hardly helps, because the noisy
mask is informative enough; and the loss is not monotone over timesteps. Both statements, and a
third one about the noisiest timesteps, are tested once per cell, by sign flips over test units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from orchestrator.fingerprint.probes import ProbeCurves
from orchestrator.heldout.rows import Indices
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.estimates import Estimate, of_means
from orchestrator.statistics.levels import ALPHA
from orchestrator.statistics.multiple_testing import holm
from orchestrator.statistics.paired_tests import TestResult, least_p
from orchestrator.statistics.sign_flip import all_above, some_above, unit_means
from orchestrator.statistics.small_samples import mean_estimate, mean_interval
from orchestrator.statistics.verdicts import Evidence, Sign, Verdict, judge
from trainables.metrics import ratio

LITTLE = 0.05
"""The image hardly helps where it takes away less than this share of the error without it."""
FEWEST_STRATA = 3
"""A curve of fewer strata is not tested: it cannot both rise and fall."""

Statement = Literal["image hardly helps", "image unused at the noisy end", "loss not monotone"]
SIGNS: dict[Statement, Sign] = {
    "image hardly helps": -1,
    "image unused at the noisy end": -1,
    "loss not monotone": 1,
}
"""The sign of the difference if the statement is true."""


@dataclass(frozen=True)
class Finding:
    """The test of one statement on one cell."""

    statement: Statement
    value: float
    threshold: float
    difference: Estimate
    """``value`` − ``threshold``, with its interval over units and seeds."""
    test: TestResult
    """Two-sided: twice the smaller p-value of the statement and of its opposite."""
    units: int
    where: str
    """The timesteps concerned, in words."""
    p_holm: float = np.nan
    """Adjusted over the probed cells of the study."""
    family: int = 1
    """The number of those cells."""

    @property
    def verdict(self) -> tuple[Verdict, str]:
        """Whether the statement holds for these networks, and why."""
        least = self.test.least_p * self.family
        evidence = Evidence(self.difference, self.p_holm, self.units, least)
        return judge(evidence, SIGNS[self.statement])


def findings(curves: Mapping[str, ProbeCurves]) -> dict[str, dict[Statement, Finding]]:
    """The findings of every cell of one study, by cell and statement.

    ``curves`` are the complete rows over t of all probed cells of the study. The p-values of a
    statement are adjusted by Holm over the cells. Cells without rows, or with fewer than
    :data:`FEWEST_STRATA` strata, have no findings.
    """
    tested = {
        cell: probe
        for cell, probe in curves.items()
        if probe.axis == "t" and len(probe.runs) and len(probe.bins) >= FEWEST_STRATA
    }
    by_cell: dict[str, dict[Statement, Finding]] = {cell: {} for cell in tested}
    for test in (image_hardly_helps, unused_at_noisy_end, not_monotone):
        of_cells = [test(probe) for probe in tested.values()]
        p_holm = holm(np.array([finding.test.p for finding in of_cells], np.float64))
        for cell, finding, p in zip(tested, of_cells, p_holm.tolist(), strict=True):
            adjusted = dataclasses.replace(finding, p_holm=p, family=len(tested))
            by_cell[cell][finding.statement] = adjusted
    return by_cell


def image_hardly_helps(probe: ProbeCurves) -> Finding:
    """Test whether the image takes away less than :data:`LITTLE` of the error at some timesteps.

    Only strata of t in which the noisy mask is informative are tested. In the noisiest stratum only
    the image is informative, so these are the strata whose Dice of the x0-estimate is above that of
    the noisiest one, by a test of all strata at once
    (:func:`orchestrator.statistics.sign_flip.some_above`). ``value`` is the share 1 − e_c/e_u of
    the ε-error that the image takes away, in the stratum where it is most clearly below
    :data:`LITTLE`. The statement is true if the share is below :data:`LITTLE` in some of these
    strata, and false if it is above in every stratum in which the mask may be informative.
    """
    dice = probe.curves["one_step_dice"]
    gain = dice - dice[:, -1:]
    informative = np.flatnonzero(some_above(unit_means(gain, probe.units)) <= ALPHA / 2)
    _, _, highest = mean_interval(probe.rows(gain))
    possible = np.flatnonzero(highest > 0)
    possible = possible if len(possible) else np.arange(len(probe.bins))
    if len(informative):
        return _little_use(probe, "image hardly helps", informative, possible)
    finding = _little_use(probe, "image hardly helps", possible, possible, testable=False)
    where = f"{finding.where}: in no stratum is the noisy mask more informative than the image"
    return dataclasses.replace(finding, where=where)


def unused_at_noisy_end(probe: ProbeCurves) -> Finding:
    """Test whether the image takes away less than :data:`LITTLE` in the noisiest stratum.

    Only the image is informative there, so a network that does not use it has failed.
    """
    last = np.array([len(probe.bins) - 1])
    return _little_use(probe, "image unused at the noisy end", last, last)


def _little_use(
    probe: ProbeCurves,
    statement: Statement,
    strata: Indices,
    possible: Indices,
    *,
    testable: bool = True,
) -> Finding:
    """Test whether the image takes away less than :data:`LITTLE` in some of the strata.

    The opposite is that it takes away more in all ``possible`` ones. If not ``testable``, only the
    opposite can be found.
    """
    with_image, without = probe.curves["eps_error"], probe.curves["eps_error_dropped"]
    left = unit_means(with_image - (1 - LITTLE) * without, probe.units)
    true, false = some_above(left[:, strata]), all_above(-left[:, possible])
    k = strata[_clearest(left[:, strata], true)]
    difference = of_means(
        {"e_c": with_image[:, k], "e_u": without[:, k]},
        probe.weights,
        probe.units,
        lambda mean: {"taken": 1 - ratio(mean["e_c"], mean["e_u"]) - LITTLE},
    )["taken"]
    p = float(true.min()) if testable else 1.0
    return Finding(
        statement,
        LITTLE + difference.value,
        LITTLE,
        difference,
        _two_sided(p, false, least_p(len(left))),
        len(left),
        f"t {probe.low[k]:.2f} to {probe.high[k]:.2f}",
    )


def not_monotone(probe: ProbeCurves) -> Finding:
    """Test whether the loss over t both rises and falls.

    The clearest rise and the clearest fall from any stratum to any later one are found. ``value``
    is the mean change of the ε-error in the less clear one of the two, which is negative where the
    curve only goes the other way. The statement is true if both are above zero
    (:func:`orchestrator.statistics.sign_flip.some_above`), and false if all steps between adjacent
    strata have one sign.
    """
    loss = probe.curves["eps_error"]
    pairs = np.array(list(combinations(range(loss.shape[1]), 2)))
    changes = loss[:, pairs[:, 1]] - loss[:, pairs[:, 0]]
    means = unit_means(changes, probe.units)
    steps = unit_means(np.diff(loss, axis=1), probe.units)
    ways: list[tuple[float, float, int, float]] = []
    for sign in (1.0, -1.0):
        p = some_above(sign * means)
        k = _clearest(sign * means, p)
        ways.append((float(p.min()), -sign * float(means[:, k].mean()), k, sign))
    true, _, k, sign = max(ways)  # the less clear way
    rises, falls = all_above(steps), all_above(-steps)
    false = min(rises, falls)
    estimate = mean_estimate([probe.rows(sign * changes[:, k])])
    first, last = probe.middles[pairs[k]].tolist()
    where = f"the {'rise' if sign > 0 else 'fall'} from t {first:.2f} to {last:.2f}"
    if false < true:
        where = "it only rises" if rises < falls else "it only falls"
    return Finding(
        "loss not monotone",
        estimate.value,
        0.0,
        estimate,
        # The flip of all signs turns a fall into a rise: both together have p ≥ 2 · 2⁻ⁿ on a side.
        _two_sided(true, false, least_p(len(means)) * (2 if true <= false else 1)),
        len(means),
        where,
    )


def _two_sided(true: float, false: float, least: float) -> TestResult:
    """The two-sided test, from the one-sided p-values of a statement and of its opposite."""
    return TestResult("sign-flip", min(1.0, 2 * min(true, false)), least)


def _clearest(values: Array, p: Array) -> int:
    """The column with the largest mean among those with the smallest p-value."""
    return int(np.where(p <= p.min() + 1e-12, values.mean(0), -np.inf).argmax())
