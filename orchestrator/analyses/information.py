"""Totals in bits: what a mask says, what the image says of it, at which noise levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from orchestrator.fingerprint import density, failure_signs
from orchestrator.fingerprint.noisy_end import left_edge, twin
from orchestrator.fingerprint.probes import Probed, cells
from orchestrator.heldout.final_cells import FinalCell, final_cells
from orchestrator.heldout.metrics import HeldOut, load_metrics
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.curve_intervals import Curves, of_means
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
        *((f"{k}{end}", pa.float64()) for k in NUMBERS for end in ("", "_low", "_high")),
        *((k, pa.string()) for k in ("twin", "signatures")),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study and cell with final diffusion trials; null where it was not measured.

    Every number has its 95 % interval, by bootstrap over groups or cases
    (:func:`orchestrator.statistics.bootstrap.units`) nested in seeds, in ``_low`` and
    ``_high``. Areas are over the λ that the network was trained on, ``log_snr_low`` to
    ``log_snr_high``, of rows that have every stratum.

    Bits per pixel, and ``_per_image`` (a probed tile): ``entropy`` H(mask) = ½∫e_u dλ and
    ``entropy_given_image`` = ½∫e_c dλ, e_u and e_c the ε-errors without and with the image
    (Guo, Shamai & Verdú 2005, arXiv cs/0412108); both are upper bounds, a network's code length.
    ``information`` I(mask; image) is their difference, ``information_orthogonal`` half the area
    of the squared distance of the two estimates; ``disagreement`` is the first less the second,
    0 for the best denoiser: the model-error bar.

    Where it lies, by the second estimator, its density even within a stratum: ``half`` of it is
    below this λ; ``width`` in λ from a tenth to nine tenths of it; ``live_from`` and ``live_to``,
    outside of which, and ``dead`` the share of the λ range in which, the density is under 1 % of
    its peak, stratum by stratum.

    ``share_under_X``: the share of the timesteps t at which the image adds less than X %, which is
    the part of the error that it takes away, 1 − e_c/e_u, at this t. ``non_monotonicity`` of the
    loss e_c over t: the share of its ups and downs that leads nowhere, 1 − |last − first| /
    Σ|steps| over strata, 0 if and only if it is monotone; noise alone makes it positive.
    ``peak_t``: the middle of the stratum where the loss is highest.

    ``tail_below`` and ``tail_above``: at most so many bits per pixel of ``entropy``, of
    ``entropy_given_image`` and of either estimate of the information lie beyond the range, were the
    network the best denoiser. The best denoiser that knows the prevalence alone knows less than one
    with the neighbours, or with these and the image, so 0 ≤ e_c ≤ e_u ≤ e_pixelwise at every λ: the
    bound is ½∫e_pixelwise over what was not measured
    (:mod:`orchestrator.fingerprint.pixelwise_bound`). It is loose above, where neighbours tell
    most.

    ``left_edge``: the x0-error at the noisy end over that of the feed-forward ``twin``
    (:mod:`orchestrator.fingerprint.noisy_end`). ``one_step_dice_noisy`` and ``_clean``: Dice of the
    x0 estimate in the lowest and the highest stratum of λ. ``prevalence``: the share of foreground,
    all classes together. ``signatures``: the failure signs seen
    (:mod:`orchestrator.fingerprint.failure_signs`), joined by "; ".
    """
    found = {}
    for probed in cells(tables):
        about = probed.about
        found.setdefault((about["study"], about["cell"]), {})[about["axis"]] = probed.whole()
    known = {cell.key: cell for cell in final_cells(tables)}
    mine = [known[key] for key in found]
    held_out = HeldOut(tables, load_metrics(["dice", "ece"]), mine)
    made = [
        _row(axes["log_snr"], axes.get("t"), known[key], list(known.values()), held_out, tables)
        for key, axes in found.items()
        if "log_snr" in axes and len(axes["log_snr"].runs)
    ]
    return pa.Table.from_pylist(made, schema=SCHEMA)


def _row(
    over_log_snr: Probed,
    over_t: Probed | None,
    cell: FinalCell,
    others: list[FinalCell],
    held_out: HeldOut,
    tables: Catalog,
) -> dict[str, Any]:
    about = over_log_snr.about
    row: dict[str, Any] = {k: about[k] for k in SCHEMA.names if k in about}
    row |= {
        "seeds": len(np.unique(over_log_snr.runs)),
        "images": len(np.unique(over_log_snr.cases)),
        "groups": len(np.unique(over_log_snr.groups)),
        "pixels": round(over_log_snr.pixels.mean()),
        "log_snr_low": float(over_log_snr.edges[0]),
        "log_snr_high": float(over_log_snr.edges[-1]),
        **_along_log_snr(over_log_snr),
    }
    found: list[str] = []
    if over_t is not None and len(over_t.runs):
        row |= _along_t(over_t)
        found += failure_signs.of_curves(over_t)
    other = twin(cell, others)
    if other is not None:
        row |= {"twin": other.cell}
        row |= left_edge(over_log_snr, cell, other, tables)
    found += failure_signs.of_edge(row) + failure_signs.of_estimators(row)
    found += failure_signs.of_calibration(held_out.measure(cell))
    return row | {"signatures": "; ".join(found)}


def _along_log_snr(probed: Probed) -> dict[str, float | None]:
    edges, pixels = probed.edges, probed.pixels.mean()
    widths = np.diff(edges)
    ends = np.array([edges[0], edges[-1]])
    values = {**probed.curves}
    if probed.pixelwise is not None:
        tails = np.array([-np.inf, ends[1]]), np.array([ends[0], np.inf])
        values["tails"] = probed.pixelwise.areas(*tails)
        values["prevalence"] = probed.pixelwise.foreground

    def numbers(mean: Curves) -> dict[str, Array]:
        bits = widths / (2 * np.log(2))
        orthogonal = mean["information_orthogonal"]
        totals = {
            "entropy": mean["eps_error_dropped"] @ bits,
            "entropy_given_image": mean["eps_error"] @ bits,
            "information": mean["information"] @ widths,
            "information_orthogonal": orthogonal @ widths,
        }
        live_from, live_to, dead = density.live(orthogonal, edges)
        found = {
            **totals,
            **{f"{name}_per_image": value * pixels for name, value in totals.items()},
            "disagreement": totals["information"] - totals["information_orthogonal"],
            "half": density.quantile(orthogonal * widths, edges),
            "width": density.width(orthogonal * widths, edges),
            "live_from": live_from,
            "live_to": live_to,
            "dead": dead,
            "one_step_dice_noisy": mean["one_step_dice"][..., 0],
            "one_step_dice_clean": mean["one_step_dice"][..., -1],
        }
        if "tails" in mean:
            found["tail_below"], found["tail_above"] = np.moveaxis(mean["tails"], -1, 0)
            found["prevalence"] = mean["prevalence"]
        return found

    return of_means(values, probed.counted, numbers)


def _along_t(probed: Probed) -> dict[str, float | None]:
    middles, widths = (probed.low + probed.high) / 2, probed.high - probed.low

    def numbers(mean: Curves) -> dict[str, Array]:
        with_image, without = mean["eps_error"], mean["eps_error_dropped"]
        # Where there is no error without the image either, it has nothing to add.
        adds = np.where(without > 0, 1 - ratio(with_image, without), 0.0)
        return {
            **{name: density.share_under(adds, x, widths) for name, x in LIMITS.items()},
            "non_monotonicity": density.non_monotonicity(with_image),
            "peak_t": middles[with_image.argmax(-1)],
        }

    return of_means(probed.curves, probed.counted, numbers)
