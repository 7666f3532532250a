"""What the loss over timesteps shows, tested over test units: two findings of the source study.

Öttl et al. 2024 (arXiv 2403.14440): at some timesteps the image hardly helps, since the noisy mask
already tells; and the loss is not monotone over timesteps.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.fingerprint.probes import Probed
from orchestrator.statistics import bootstrap, sign_flip
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.curve_intervals import of_means
from orchestrator.statistics.multiple_testing import LEVEL
from trainables.metrics import ratio

LITTLE = 0.05
"""Of the error without the image: what the image must take away to be called of use."""


class Found(NamedTuple):
    """A number that has one sign where the finding is there, and another where it is not."""

    value: float
    against: float
    low: float
    """Of ``value`` − ``against``, with ``high``: 95 %, over units nested in seeds."""
    high: float
    p: float
    """Two-sided: that it is there, or that it is not, whichever is likelier."""
    units: int
    where: str
    """In words: at which timesteps."""


def little_use(probed: Probed) -> Found:
    """Whether there are timesteps at which the image takes away less than :data:`LITTLE`.

    Looked at are the strata of t that the noisy mask tells something in: where Dice of the estimate
    of x0 is above that of the noisiest stratum, which the image alone tells, by a test of all
    strata at once (:func:`orchestrator.statistics.sign_flip.some_above`). ``value`` is the share 1
    − e_c/e_u of the ε-error that the image takes away, in the stratum where it is most clearly
    below ``against``, :data:`LITTLE`. It is there if it is in some of these strata, and not there
    if the image takes away more in every stratum that the mask may tell something in.
    """
    with_image, without = probed.curves["eps_error"], probed.curves["eps_error_dropped"]
    dice = probed.curves["one_step_dice"]
    above_image = dice - dice[:, -1:]
    told = np.flatnonzero(sign_flip.some_above(by_unit(above_image, probed.units)) <= LEVEL / 2)
    _, _, most = bootstrap.mean_interval(above_image, probed.counted)
    possible = np.flatnonzero(most > 0)
    possible = possible if len(possible) else np.arange(len(probed.bins))
    looked_at = told if len(told) else possible
    left = by_unit(with_image - (1 - LITTLE) * without, probed.units)
    there, absent = (
        sign_flip.some_above(left[:, looked_at]),
        sign_flip.all_above(-left[:, possible]),
    )
    k = looked_at[_clearest(left[:, looked_at], there)]
    taken = of_means(
        {"e_c": with_image[:, k], "e_u": without[:, k]},
        probed.counted,
        lambda mean: {"taken": 1 - ratio(mean["e_c"], mean["e_u"]) - LITTLE},
    )
    ends = (taken[name] for name in ("taken", "taken_low", "taken_high"))
    apart, low, high = (np.nan if end is None else end for end in ends)
    p = float(there.min()) if len(told) else 1.0
    nowhere = "" if len(told) else ": nowhere does the noisy mask tell more than the image alone"
    return Found(
        LITTLE + apart,
        LITTLE,
        low,
        high,
        min(1.0, 2 * min(p, absent)),
        len(left),
        f"t {probed.low[k]:.2f} to {probed.high[k]:.2f}{nowhere}",
    )


def not_monotone(probed: Probed) -> Found:
    """Whether the loss over t both rises and falls.

    Of the rises and the falls from any stratum to any later one the clearest of each is taken, the
    largest of several; ``value`` is the mean change of the ε-error in the less clear one of the
    two, of three strata or more, negative where the curve only goes the other way. It is there if
    both are above ``against``, zero (:func:`orchestrator.statistics.sign_flip.some_above`); not if
    all steps have one sign.
    """
    loss = probed.curves["eps_error"]
    pairs = np.array(list(combinations(range(loss.shape[1]), 2)))
    change = loss[:, pairs[:, 1]] - loss[:, pairs[:, 0]]
    means, steps = (by_unit(values, probed.units) for values in (change, np.diff(loss, axis=1)))
    ways: list[tuple[float, float, int, float]] = []
    for sign in (1.0, -1.0):
        p = sign_flip.some_above(sign * means)
        k = _clearest(sign * means, p)
        ways.append((float(p.min()), -sign * float(means[:, k].mean()), k, sign))
    there, _, k, sign = max(ways)
    rises, falls = sign_flip.all_above(steps), sign_flip.all_above(-steps)
    absent = min(rises, falls)
    value, low, high = bootstrap.mean_interval(sign * change[:, k], probed.counted)
    middles = (probed.low + probed.high) / 2
    first, last = middles[pairs[k]].tolist()
    where = f"the {'rise' if sign > 0 else 'fall'} from t {first:.2f} to {last:.2f}"
    if absent < there:
        where = "it only rises" if rises < falls else "it only falls"
    return Found(
        float(value),
        0.0,
        float(low),
        float(high),
        min(1.0, 2 * min(there, absent)),
        len(means),
        where,
    )


def _clearest(values: Array, p: Array) -> int:
    """Of the columns with the smallest p-value, the one with the largest mean."""
    return int(np.where(p <= p.min() + 1e-12, values.mean(0), -np.inf).argmax())


def by_unit(values: Array, units: NDArray[np.int64]) -> Array:
    """The mean over the rows of each unit: [rows, columns] in, [units, columns] out."""
    names, at = np.unique(units, return_inverse=True)
    total = np.zeros((len(names), values.shape[1]))
    np.add.at(total, at, values)
    return total / np.bincount(at)[:, None]
