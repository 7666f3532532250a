"""The per-noise-level measurement that timestep fingerprints are made of.

Each held-out mask is noised at levels stratified over log-SNR, and over t, and denoised in one
pass, once with the image, once without, and once per further control, all with the same noise.
What is stored are sums of squared errors per case and stratum; information densities are made of
them later (Guo, Shamai & Verdú 2005, arXiv cs/0412108: dI/dλ is half the squared ε-error of the
best denoiser).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables import controls, masks
from trainables.config import Config
from trainables.controls import Control
from trainables.data import Case, tiles
from trainables.diffusion import add_noise
from trainables.evaluation.evaluate import PIXELS_AT_ONCE, counts, reading
from trainables.models import Network
from trainables.modes.diffusion import Diffusion
from trainables.runtime.seeding import generator
from trainables.runtime.worker_context import WorkerContext

CONTROLS: dict[str, Control] = {"image": "none", "dropped": "dropped_image"}
"""What is always measured: with the image, and with the image dropped as in training, which is the
unconditional denoiser."""

Row = dict[str, Any]


class Noised(NamedTuple):
    """One case at L noise levels, stratum by stratum, and its stand-in's."""

    times: Tensor
    """[L], float64, on the CPU."""
    log_snr: Tensor
    """[L], float64, on the CPU."""
    x0: Tensor
    """[1, M, H, W]."""
    x: Tensor
    """[L, M, H, W]."""
    noise: Tensor
    """[L, M, H, W], what a random mask is made of; independent of x."""
    other: Tensor
    """[L, M, H, W], another case's noisy masks."""


def passes(config: Config, cases: int) -> int:
    """Network passes that probing so many tiles takes."""
    if not isinstance(config.mode, Diffusion):
        return 0
    each = len(CONTROLS) + len(config.probe.controls)
    return 2 * config.probe.bins * config.probe.draws * each * cases


def measure(
    config: Config, network: Network, cases: Sequence[Case], context: WorkerContext
) -> list[Row]:
    """Rows of ``probes`` about this worker's share of the tiles; none without diffusion."""
    mode, bins = config.mode, config.probe.bins
    if not isinstance(mode, Diffusion) or bins == 0:
        return []
    cut = tiles(list(cases), config.task.size)
    rows: list[Row] = []
    for axis in ("log_snr", "t"):
        edges = strata(mode, axis, bins)
        for i in range(context.rank, len(cut), context.world):
            key = {"case": cut[i].name, "group": cut[i].group, "axis": axis}
            other = cut[controls.partner(i, len(cut))] if len(cut) > 1 else cut[i]
            noised = _noised(config, mode, cut[i], other, axis, edges)
            with reading(config, network, context):
                found = _errors(config, mode, network, cut[i], other, noised, context)
            for row in found:
                low, high = edges[row["bin"]].item(), edges[row["bin"] + 1].item()
                rows.append({**key, "low": low, "high": high, **row})
    return rows


def strip(
    config: Config,
    mode: Diffusion,
    network: Network,
    tile: Case,
    levels: int,
    context: WorkerContext,
) -> tuple[Noised, dict[str, Tensor]]:
    """A tile at so many levels evenly spaced in λ, clean first, and its x0 estimates, [L, M, H, W].

    All levels have the first noise that the probe draws for this tile. The estimates are those of
    :data:`CONTROLS`; without the image only of a network that was trained so.
    """
    log_snr = strata(mode, "log_snr", levels - 1).flip(0)
    times = mode.schedule.time(log_snr).clamp(mode.t_low, mode.t_high)
    draws = generator(config.seed, tile.name, "log_snr", "probe")
    inside(config.probe.bins, config.probe.draws, draws)  # the probe draws these before its noise
    x0 = mode.encoding.to_x0(mode.encoding.mask(tile.labels[None], config.classes))
    noise = torch.randn(x0.shape, generator=draws)
    x = add_noise(x0, mode.log_snr(times), noise)
    noised = Noised(times, mode.log_snr(times), x0, x, x, x)
    with reading(config, network, context):
        return noised, {
            name: _estimate(mode, network, tile, tile, noised, control, context)
            for name, control in CONTROLS.items()
            if mode.image_dropout > 0 or control == "none"
        }


def strata(mode: Diffusion, axis: str, bins: int) -> Tensor:
    """[bins + 1] edges over the range of λ, or of t, that the mode trains on; rising, float64."""
    t = torch.tensor([mode.t_low, mode.t_high], dtype=torch.float64)
    ends = t if axis == "t" else mode.schedule.log_snr(t).flip(0)
    return torch.linspace(float(ends[0]), float(ends[1]), bins + 1, dtype=torch.float64)


def inside(bins: int, per_bin: int, draws: torch.Generator) -> Tensor:
    """Places within the strata, in [0, 1): [bins, per_bin], float64.

    Every second one mirrors the one before (antithetic), which cancels an error curve's slope.
    """
    half = torch.rand(bins, (per_bin + 1) // 2, generator=draws, dtype=torch.float64)
    return torch.stack([half, 1 - half], 2).flatten(1)[:, :per_bin]


def _noised(
    config: Config, mode: Diffusion, case: Case, other: Case, axis: str, edges: Tensor
) -> Noised:
    draws = generator(config.seed, case.name, axis, "probe")
    at = inside(config.probe.bins, config.probe.draws, draws)
    at = (edges[:-1, None] + at * edges.diff()[:, None]).flatten()
    times = at if axis == "t" else mode.schedule.time(at)
    log_snr = mode.log_snr(times)

    def encoded(labels: Tensor) -> Tensor:
        return mode.encoding.to_x0(mode.encoding.mask(labels[None], config.classes))

    x0, other_x0 = encoded(case.labels), encoded(other.labels)
    shape = (len(times), *x0.shape[1:])
    first, second = torch.randn(shape, generator=draws), torch.randn(shape, generator=draws)
    return Noised(
        times,
        log_snr,
        x0,
        add_noise(x0, log_snr, first),
        second,
        add_noise(other_x0, log_snr, second),
    )


def _errors(
    config: Config,
    mode: Diffusion,
    network: Network,
    case: Case,
    other: Case,
    noised: Noised,
    context: WorkerContext,
) -> list[Row]:
    """One row per stratum and control for one case."""
    wanted = dict(CONTROLS)
    if other is not case:
        wanted |= {name: name for name in config.probe.controls}
    estimates = {
        name: _estimate(mode, network, case, other, noised, control, context)
        for name, control in wanted.items()
    }
    gap = _square_sum(estimates["image"] - estimates["dropped"])
    truth = masks.foreground(masks.to_channels(case.labels[None], config.classes)).bool()
    rows: list[Row] = []
    for control, estimate in estimates.items():
        error = _square_sum(estimate - noised.x0)
        # epsilon's error is the SNR times x0's error (variance preserving).
        snr = noised.log_snr.exp()
        sums = {
            "t_sum": noised.times,
            "log_snr_sum": noised.log_snr,
            "x0_error_sum": error,
            "x0_error_square_sum": error.square(),
            "eps_error_sum": snr * error,
        }
        if control in CONTROLS:
            sums |= {"x0_gap_sum": gap, "eps_gap_sum": snr * gap}
        bins = config.probe.bins
        binned = {name: value.reshape(bins, -1).sum(1) for name, value in sums.items()}
        p = mode.encoding.classes(mode.encoding.to_mask(estimate), config.classes)
        hit = (masks.foreground(p) > 0.5).unflatten(0, (bins, -1))
        rows += [
            {
                "bin": b,
                "control": control,
                "pixels": truth.shape[2] * truth.shape[3],
                "draws": hit.shape[1],
                **{name: float(value[b]) for name, value in binned.items()},
                **counts(hit[b], truth.expand_as(hit[b])),
            }
            for b in range(bins)
        ]
    return rows


def _estimate(
    mode: Diffusion,
    network: Network,
    case: Case,
    other: Case,
    noised: Noised,
    control: Control,
    context: WorkerContext,
) -> Tensor:
    """The estimates of x0 at all levels, [L, M, H, W], on the CPU: one pass each."""
    image = controls.image(control, case.image, other.image)[None].to(context.device)
    features = network.features(image)
    found: list[Tensor] = []
    at_once = max(1, PIXELS_AT_ONCE // case.labels.numel())
    for part in torch.arange(len(noised.times)).split(at_once):
        seen = controls.mask(control, noised.x[part], noised.other[part], noised.noise[part])
        n = len(part)
        estimate = mode.denoise(
            network,
            seen.to(context.device, memory_format=torch.channels_last),
            noised.times[part].to(context.device),
            image.expand(n, -1, -1, -1),
            tuple(f.expand(n, *f.shape[1:]) for f in features),
        )
        found.append(estimate.x0.float().cpu())
    return torch.cat(found)


def _square_sum(difference_LMHW: Tensor) -> Tensor:
    """Sum of squares over channels and pixels: [L], float64."""
    return difference_LMHW.square().flatten(1).sum(1).double()
