"""The per-noise-level measurement that timestep fingerprints are computed from.

Each held-out mask is noised at levels that are stratified over log-SNR, and over t, and denoised in
one pass: once with the image, once without, and once per further control, all with the same noise.
The rows hold sums of squared errors per case and stratum. Information densities are computed from
them later (Guo, Shamai & Verdú 2005, arXiv cs/0412108: dI/dλ is half the squared ε-error of the
best denoiser).
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from trainables import controls, masks
from trainables.config import Config
from trainables.controls import Control
from trainables.data import Case, tiles
from trainables.diffusion import add_noise
from trainables.evaluation.compiled import compiled
from trainables.evaluation.counts import counts
from trainables.evaluation.pass_size import PassSize
from trainables.evaluation.predict import PIXELS_AT_ONCE, inference
from trainables.models import Network
from trainables.modes.diffusion import Diffusion
from trainables.rows import ProbeRow, ProbeSums
from trainables.run import Run
from trainables.runtime.seeding import generator

CONTROLS: dict[str, Control] = {"image": "none", "dropped": "dropped_image"}
"""The controls that are always measured: with the image, and with the image dropped as in training,
which is the unconditional denoiser."""


class Noised(NamedTuple):
    """One case at L noise levels, stratum by stratum, and the masks of its partner case."""

    times: Tensor
    """[L], float64, on the CPU."""
    log_snr: Tensor
    """[L], float64, on the CPU."""
    x0: Tensor
    """[1, M, H, W]."""
    x: Tensor
    """[L, M, H, W]."""
    noise: Tensor
    """[L, M, H, W], the random mask of a control; independent of x."""
    other: Tensor
    """[L, M, H, W], the noisy masks of another case."""


def passes(config: Config, tiles: int) -> int:
    """Return the network passes that probing takes for a number of tiles."""
    if not isinstance(config.mode, Diffusion):
        return 0
    each = len(CONTROLS) + len(config.probe.controls)
    return 2 * config.probe.bins * config.probe.draws * each * tiles


def measure(run: Run, network: Network) -> list[ProbeRow]:
    """Return the rows of this worker's share of the test tiles; none without diffusion."""
    config = run.config
    mode, bins = config.mode, config.probe.bins
    if not isinstance(mode, Diffusion) or bins == 0:
        return []
    cut, network = tiles(run.data.test, config.task.size), compiled(run, network)
    rows: list[ProbeRow] = []
    for axis in ("log_snr", "t"):
        edges = strata(mode, axis, bins, (config.probe.t_low, config.probe.t_high))
        for i in run.share(cut):
            case = cut[i]
            other = cut[controls.partner(i, len(cut))] if len(cut) > 1 else case
            noised = _noised(config, mode, case, other, axis, edges)
            with inference(run, network):
                sums = _errors(run, mode, network, case, other, noised)
            for stratum in sums:
                low, high = edges[stratum["bin"]].item(), edges[stratum["bin"] + 1].item()
                key = {"case": case.name, "group": case.group, "axis": axis}
                rows.append(cast("ProbeRow", {**key, "low": low, "high": high, **stratum}))
    return rows


def strip(
    run: Run, mode: Diffusion, network: Network, tile: Case, levels: int
) -> tuple[Noised, dict[str, Tensor]]:
    """Return a tile at levels evenly spaced in λ, clean first, and x0 estimates [L, M, H, W].

    All levels have the first noise that the probe draws for this tile. The estimates are those of
    :data:`CONTROLS`; the one without the image only if the network was trained with image dropout.
    """
    config, network = run.config, compiled(run, network)
    log_snr = strata(mode, "log_snr", levels - 1).flip(0)
    times = mode.schedule.time(log_snr).clamp(mode.t_low, mode.t_high)
    draws = generator(config.seed, tile.name, "log_snr", "probe")
    positions_in_strata(
        config.probe.bins, config.probe.draws, draws
    )  # the probe draws these before its noise
    x0 = mode.encoding.encoded(tile.labels[None], config.classes)
    noise = torch.randn(x0.shape, generator=draws)
    x = add_noise(x0, mode.log_snr(times), noise)
    noised = Noised(times, mode.log_snr(times), x0, x, x, x)
    with inference(run, network):
        return noised, {
            name: _estimate(run, mode, network, tile, tile, noised, control)
            for name, control in CONTROLS.items()
            if mode.image_dropout > 0 or control == "none"
        }


def strata(
    mode: Diffusion, axis: str, bins: int, times: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Return the edges of the strata over the mode's range of λ or t: [bins + 1], rising, float64.

    ``axis`` is ``log_snr`` or ``t``. Only the part of the range within ``times`` is covered.
    """
    covered = [max(mode.t_low, times[0]), min(mode.t_high, times[1])]
    t = torch.tensor(covered, dtype=torch.float64)
    ends = t if axis == "t" else mode.schedule.log_snr(t).flip(0)
    return torch.linspace(float(ends[0]), float(ends[1]), bins + 1, dtype=torch.float64)


def positions_in_strata(bins: int, per_bin: int, draws: torch.Generator) -> Tensor:
    """Return positions within the strata, in [0, 1): [bins, per_bin], float64.

    Every second position mirrors the one before it (antithetic), which cancels the slope of an
    error curve.
    """
    half = torch.rand(bins, (per_bin + 1) // 2, generator=draws, dtype=torch.float64)
    return torch.stack([half, 1 - half], 2).flatten(1)[:, :per_bin]


def _noised(
    config: Config, mode: Diffusion, case: Case, other: Case, axis: str, edges: Tensor
) -> Noised:
    """Return a case and its partner at the noise levels that are drawn for the case."""
    draws = generator(config.seed, case.name, axis, "probe")
    at = positions_in_strata(config.probe.bins, config.probe.draws, draws)
    at = (edges[:-1, None] + at * edges.diff()[:, None]).flatten()
    times = at if axis == "t" else mode.schedule.time(at)
    log_snr = mode.log_snr(times)

    def encoded(labels: Tensor) -> Tensor:
        return mode.encoding.encoded(labels[None], config.classes)

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
    run: Run, mode: Diffusion, network: Network, case: Case, other: Case, noised: Noised
) -> list[ProbeSums]:
    """Return the sums of one case, one row per stratum and control."""
    config = run.config
    wanted = dict(CONTROLS)
    if other is not case:
        wanted |= {name: name for name in config.probe.controls}
    estimates = {
        name: _estimate(run, mode, network, case, other, noised, control)
        for name, control in wanted.items()
    }
    which = masks.counted(case.labels)
    gap = _square_sum((estimates["image"] - estimates["dropped"])[..., which])
    truth = masks.foreground(masks.to_channels(case.labels[None], config.classes))[..., which] == 1
    rows: list[ProbeSums] = []
    for control, estimate in estimates.items():
        error = _square_sum((estimate - noised.x0)[..., which])
        binned = _binned(noised, error, gap if control in CONTROLS else None, config.probe.bins)
        p = mode.encoding.classes(mode.encoding.to_mask(estimate), config.classes)
        predicted = masks.foreground(p)[..., which] > 0.5
        hits = predicted.reshape(config.probe.bins, -1, *predicted.shape[1:])
        for b, hit in enumerate(hits):
            head = {
                "bin": b,
                "control": control,
                "pixels": truth.shape[2],
                "draws": len(hit),
            }
            sums = {name: float(value[b]) for name, value in binned.items()}
            rows.append(cast("ProbeSums", {**head, **sums, **counts(hit, truth.expand_as(hit))}))
    return rows


def _binned(noised: Noised, error: Tensor, gap: Tensor | None, bins: int) -> dict[str, Tensor]:
    """Return the sums over the draws in each stratum, [bins] each, of terms [L]."""
    # The error of ε is the SNR times the error of x0 (variance preserving).
    snr = noised.log_snr.exp()
    sums = {
        "t_sum": noised.times,
        "log_snr_sum": noised.log_snr,
        "x0_error_sum": error,
        "x0_error_square_sum": error.square(),
        "eps_error_sum": snr * error,
    }
    if gap is not None:
        sums |= {"x0_gap_sum": gap, "eps_gap_sum": snr * gap}
    return {name: value.reshape(bins, -1).sum(1) for name, value in sums.items()}


def _estimate(
    run: Run,
    mode: Diffusion,
    network: Network,
    case: Case,
    other: Case,
    noised: Noised,
    control: Control,
) -> Tensor:
    """Return the x0 estimates at all levels, [L, M, H, W], on the CPU: one pass per level."""
    device = run.context.device
    trained = run.config.train.control
    seen = controls.image(trained, case.image, other.image)
    image = controls.image(control, seen, other.image)[None].to(device)
    features = network.features(image)

    def estimate(part: slice) -> Tensor:
        masks_seen = (noised.x[part], noised.other[part], noised.noise[part])
        x = controls.mask(trained, *masks_seen)
        x = controls.mask(control, x, *masks_seen[1:])
        n = len(x)
        found = mode.denoise(
            network,
            x.to(device, memory_format=torch.channels_last),
            noised.times[part],
            image.expand(n, -1, -1, -1),
            tuple(f.expand(n, *f.shape[1:]) for f in features),
        )
        return found.x0.float().cpu()

    levels = len(noised.times)
    size = PassSize(max(1, PIXELS_AT_ONCE // case.labels.numel()), levels, run.context)
    return torch.cat(list(size.passes(levels, estimate)))


def _square_sum(difference_LMN: Tensor) -> Tensor:
    """Return the sum of squares over channels and pixels: [L], float64."""
    return difference_LMN.square().flatten(1).sum(1).double()
