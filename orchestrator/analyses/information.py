"""Information of masks and images in bits, the noise levels that hold it, and failure signs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from orchestrator.fingerprint import density, failure_signs
from orchestrator.fingerprint.noisy_end import left_edge, twin
from orchestrator.fingerprint.probes import ProbeCurves, possible, probe_curves
from orchestrator.fingerprint.timestep_tests import Finding, Statement, findings
from orchestrator.heldout.final_cells import FinalCell, final_cells
from orchestrator.heldout.metrics import HeldOut, interval_columns, load_metrics
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.estimates import UNKNOWN, Curves, Estimate, columns, of_means
from orchestrator.statistics.small_samples import mean_estimate
from trainables.metrics import ratio

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

TOTALS = ("entropy", "entropy_given_image", "information", "information_orthogonal")
LIMITS = {"share_under_1": 0.01, "share_under_5": 0.05, "share_under_10": 0.1}
NUMBERS = (
    *TOTALS,
    *(f"{name}_per_image" for name in TOTALS),
    *("disagreement", "half", "width", "live_from", "live_to", "dead", *LIMITS),
    *("non_monotonicity", "peak_t", "tail_below", "tail_above", "left_edge"),
    *("one_step_dice_noisy", "one_step_dice_clean", "prevalence"),
)
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("study", "task", "cell", "arm", "model", "schedule")),
        *((k, pa.int64()) for k in ("seeds", "images", "groups", "pixels")),
        *((k, pa.float64()) for k in ("log_snr_low", "log_snr_high")),
        *interval_columns(NUMBERS),
        *((k, pa.string()) for k in ("twin", "signatures")),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study and cell with final diffusion trials; null where it was not measured.

    ``seeds``, ``images`` and ``groups`` count training runs, probed tiles and the patients, slides
    or slabs that these are from; ``pixels`` is the mean number of pixels per tile. Every number has
    its 95 % interval in ``_low`` and ``_high``, over groups or cases
    (:func:`orchestrator.statistics.bootstrap.units`) and seeds, and the method of the interval in
    ``_method``. Areas are over the range of λ
    that the network was trained on, ``log_snr_low`` to ``log_snr_high``, of rows that have every
    stratum.

    In bits per pixel, and with ``_per_image`` in bits per probed tile: ``entropy`` H(mask) =
    ½∫e_u dλ and ``entropy_given_image`` = ½∫e_c dλ, where e_u and e_c are the ε-errors without and
    with the image (Guo, Shamai & Verdú 2005, arXiv cs/0412108); both are upper bounds, the code
    length of the network. ``information`` I(mask; image) is their difference,
    ``information_orthogonal`` half the area of the squared distance of the two estimates.
    ``disagreement`` is the first minus the second; it is 0 for the best denoiser and measures the
    error of the model.

    Location on the λ axis, by the second estimator with a constant density in each stratum:
    ``half`` of the information lies below this λ; ``width`` is the distance in λ between its 10 %
    and 90 % quantiles; ``live_from`` and ``live_to`` are the outer edges of the strata with at
    least 1 % of the peak density, and ``dead`` is the share of the λ range in strata below that.

    ``share_under_X``: the share of the timesteps t at which the image takes away less than X % of
    the error, 1 − e_c/e_u. ``non_monotonicity`` of the loss e_c over t: the share of its total
    variation that cancels, 1 − |last − first| / Σ|steps| over strata; it is 0 if and only if the
    loss is monotone, and noise alone makes it positive. ``peak_t``: the middle of the stratum with
    the highest loss, in t.

    ``tail_below`` and ``tail_above``: upper bounds in bits per pixel on what lies beyond the range,
    of ``entropy``, of ``entropy_given_image`` and of either estimate of the information, were the
    network the best denoiser. The best denoiser that knows the prevalence only has less information
    than one with the neighbours, or with these and the image, so that 0 ≤ e_c ≤ e_u ≤ e_pixelwise
    at every λ, and the bound is ½∫e_pixelwise over the rest of the axis
    (:mod:`orchestrator.fingerprint.pixelwise_bound`). It is loose above, where neighbours are most
    informative.

    ``left_edge``: the x0-error at the noisy end over that of the feed-forward ``twin``, a ratio
    (:mod:`orchestrator.fingerprint.noisy_end`). ``one_step_dice_noisy`` and
    ``one_step_dice_clean``: Dice of the x0-estimate in the lowest and the highest stratum of λ.
    ``prevalence``: the share of foreground pixels of all classes. ``signatures``: the failure signs
    (:mod:`orchestrator.fingerprint.failure_signs`), joined by "; ".
    """
    probes: dict[tuple[str, str], dict[str, ProbeCurves]] = {}
    for probe in probe_curves(tables):
        probes.setdefault(probe.final.key, {})[probe.axis] = probe.complete()
    cells = list(final_cells(tables))
    probed = [axes[axis].final for axes in probes.values() for axis in list(axes)[:1]]
    held_out = HeldOut(tables, load_metrics(["dice", "ece"]), probed)
    tested = _findings(probes)
    found = [
        _row(Measured(axes["log_snr"], axes.get("t"), tested.get(key, {})), cells, held_out, tables)
        for key, axes in probes.items()
        if "log_snr" in axes and len(axes["log_snr"].runs)
    ]
    return pa.Table.from_pylist(found, schema=SCHEMA)


@dataclass(frozen=True)
class Measured:
    """The complete curves of one cell over both axes, and the tests of those over t."""

    over_log_snr: ProbeCurves
    over_t: ProbeCurves | None
    findings: Mapping[Statement, Finding]


def _findings(
    probes: Mapping[tuple[str, str], Mapping[str, ProbeCurves]],
) -> dict[tuple[str, str], dict[Statement, Finding]]:
    """The tests over t of all cells, study by study."""
    studies: dict[str, dict[str, ProbeCurves]] = {}
    for (study, cell), axes in probes.items():
        if "t" in axes:
            studies.setdefault(study, {})[cell] = axes["t"]
    return {
        (study, cell): of_cell
        for study, curves in studies.items()
        for cell, of_cell in findings(curves).items()
    }


def _row(
    measured: Measured, cells: list[FinalCell], held_out: HeldOut, tables: Catalog
) -> dict[str, Any]:
    probe, over_t = measured.over_log_snr, measured.over_t
    estimates = _along_log_snr(probe)
    if over_t is not None and len(over_t.runs):
        estimates |= _along_t(over_t)
    other = twin(probe.final, cells)
    edge = UNKNOWN if other is None else left_edge(probe, other, tables)
    signs = [
        *failure_signs.of_findings(measured.findings),
        *failure_signs.of_noisy_end(edge),
        *failure_signs.of_estimators(estimates),
        *failure_signs.of_calibration(held_out.measure(probe.final)),
    ]
    return {
        **{k: getattr(probe.final, k) for k in ("study", "task", "cell", "arm", "model")},
        "schedule": probe.schedule,
        **probe.counts,
        "pixels": round(probe.pixels.mean()),
        "log_snr_low": float(probe.edges[0]),
        "log_snr_high": float(probe.edges[-1]),
        **columns(estimates),
        **edge.columns("left_edge"),
        "twin": None if other is None else other.cell,
        "signatures": "; ".join(signs),
    }


def _along_log_snr(probe: ProbeCurves) -> dict[str, Estimate]:
    """The numbers that are computed from curves over λ."""
    edges = probe.edges
    widths = np.diff(edges)

    def locations(mean: Curves) -> dict[str, Array]:
        orthogonal = mean["information_orthogonal"]
        live_from, live_to, dead = density.live(orthogonal, edges)
        return {
            "half": density.quantile(orthogonal * widths, edges),
            "width": density.width(orthogonal * widths, edges),
            "live_from": live_from,
            "live_to": live_to,
            "dead": dead,
        }

    curves, bits = probe.curves, widths / (2 * np.log(2))
    totals = {
        "entropy": curves["eps_error_dropped"] @ bits,
        "entropy_given_image": curves["eps_error"] @ bits,
        "information": curves["information"] @ widths,
        "information_orthogonal": curves["information_orthogonal"] @ widths,
    }
    means = {
        **totals,
        **{f"{name}_per_image": values * probe.pixels for name, values in totals.items()},
        "disagreement": totals["information"] - totals["information_orthogonal"],
        "one_step_dice_noisy": curves["one_step_dice"][:, 0],
        "one_step_dice_clean": curves["one_step_dice"][:, -1],
    }
    if probe.pixelwise is not None:
        lows, highs = np.transpose([(-np.inf, edges[0]), (edges[-1], np.inf)])
        means["tail_below"], means["tail_above"] = probe.pixelwise.areas(lows, highs).T
        means["prevalence"] = probe.pixelwise.foreground
    estimates = {
        name: mean_estimate([probe.rows(values)]).within(*possible(name))
        for name, values in means.items()
    }
    return estimates | of_means(curves, probe.weights, probe.units, locations)


def _along_t(probe: ProbeCurves) -> dict[str, Estimate]:
    """The numbers that are computed from curves over t."""
    widths = probe.high - probe.low

    def numbers(mean: Curves) -> dict[str, Array]:
        with_image, without = mean["eps_error"], mean["eps_error_dropped"]
        # Where the error without the image is zero, the image cannot take any of it away.
        taken = np.where(without > 0, 1 - ratio(with_image, without), 0.0)
        return {
            **{name: density.share_under(taken, x, widths) for name, x in LIMITS.items()},
            "non_monotonicity": density.non_monotonicity(with_image),
            "peak_t": probe.middles[with_image.argmax(-1)],
        }

    return of_means(probe.curves, probe.weights, probe.units, numbers)
