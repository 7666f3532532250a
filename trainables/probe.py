"""The per-noise-level measurement that timestep fingerprints are made of.

Each held-out mask is noised at levels stratified over log-SNR, and over t, and denoised in one
pass, once with the image and once without, with the same noise. What is stored are sums of squared
errors per case and stratum; information densities are made of them later (Guo, Shamai & Verdú
2005, arXiv cs/0412108: dI/dλ is half the squared ε-error of the best denoiser).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainables import masks
from trainables.config import Config
from trainables.data import Tiles
from trainables.diffusion import add_noise
from trainables.draws import generator
from trainables.evaluate import counts
from trainables.models import Network
from trainables.modes.diffusion import Diffusion

CONTROLS = ("image", "dropped")
"""With the image, and with the image dropped as in training: the unconditional denoiser."""

Row = dict[str, Any]


@torch.no_grad()
def measure(config: Config, network: Network, tiles: Tiles, device: str) -> list[Row]:
    """Rows of ``probes``; none unless the mode is diffusion."""
    mode = config.mode
    if not isinstance(mode, Diffusion) or config.probe.bins == 0:
        return []
    network.eval()
    rows: list[Row] = []
    for axis in ("log_snr", "t"):
        edges = strata(mode, axis, config.probe.bins)
        for i, case in enumerate(tiles.names):
            key = {"case": case, "group": tiles.groups[i], "axis": axis}
            draws = generator(config.seed, case, axis, "probe")
            times = _times(mode, axis, edges, config.probe.draws, draws)
            mask = masks.to_channels(tiles.labels[i : i + 1], len(config.task.classes))
            noise = torch.randn(len(times), *mask.shape[1:], generator=draws)
            image = tiles.images[i : i + 1].to(device)
            bins = config.probe.bins
            for row in _errors(
                mode, network, mask.to(device), image, times, noise.to(device), bins
            ):
                low, high = edges[row["bin"]].item(), edges[row["bin"] + 1].item()
                rows.append({**key, "low": low, "high": high, **row})
    return rows


def strata(mode: Diffusion, axis: str, bins: int) -> Tensor:
    """[bins + 1] edges over the range of λ, or of t, that the mode trains on; rising, float64."""
    t = torch.tensor([mode.t_low, mode.t_high], dtype=torch.float64)
    ends = t if axis == "t" else mode.schedule.log_snr(t).flip(0)
    return torch.linspace(float(ends[0]), float(ends[1]), bins + 1, dtype=torch.float64)


def _times(
    mode: Diffusion, axis: str, edges: Tensor, per_bin: int, draws: torch.Generator
) -> Tensor:
    """Times, ``per_bin`` in each stratum, bin by bin: [bins · per_bin], float64."""
    inside = torch.rand(len(edges) - 1, per_bin, generator=draws, dtype=torch.float64)
    at = (edges[:-1, None] + inside * edges.diff()[:, None]).flatten()
    return at if axis == "t" else mode.schedule.time(at)


def _errors(
    mode: Diffusion,
    network: Network,
    mask: Tensor,
    image: Tensor,
    times: Tensor,
    noise: Tensor,
    bins: int,
) -> list[Row]:
    """One row per stratum and control for one case; all its noise levels in two passes.

    ``times`` [L] on the CPU, stratum by stratum; ``noise`` [L, M, H, W]; the rest one case.
    """
    log_snr = mode.log_snr(times)
    x0 = mode.encode(mask).expand(len(times), -1, -1, -1)
    x = add_noise(x0, log_snr.to(x0.device), noise)
    images = image.expand(len(times), -1, -1, -1)
    t = times.to(x0.device)
    with_image = mode.denoise(network, x, t, images)
    without = mode.denoise(network, x, t, torch.zeros_like(images))
    gap = _square_sum(with_image - without)
    truth = masks.foreground(mask.bool()).cpu()

    rows: list[Row] = []
    for control, estimate in zip(CONTROLS, (with_image, without), strict=True):
        error = _square_sum(estimate - x0)
        sums = {
            "t_sum": times,
            "log_snr_sum": log_snr,
            "x0_error_sum": error,
            "x0_error_square_sum": error.square(),
            # epsilon's error is the SNR times x0's error (variance preserving).
            "eps_error_sum": log_snr.exp() * error,
            "x0_gap_sum": gap,
            "eps_gap_sum": log_snr.exp() * gap,
        }
        binned = {name: value.reshape(bins, -1).sum(1) for name, value in sums.items()}
        hit = (masks.foreground(mode.decode(estimate)).cpu() > 0.5).unflatten(0, (bins, -1))
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


def _square_sum(difference_LMHW: Tensor) -> Tensor:
    """Sum of squares over channels and pixels: [L], float64, on the CPU."""
    return difference_LMHW.square().flatten(1).sum(1).double().cpu()
