"""The times that a diffusion network is trained on, adapted while it trains."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainables.controls import Control
from trainables.diffusion import error_ratio
from trainables.models import Network
from trainables.modes import Batch, Mode
from trainables.modes.diffusion import Diffusion
from trainables.runtime.worker_context import WorkerContext
from trainables.torch_calls import floats

SMOOTHING = 0.3
"""Log-SNR over which the kernel of the running mean falls to 1/e: a quarter of the range that holds
most of the information of a pixel."""
LEAST = 1e-100
"""A count and an error that every stratum has from the start, so that no mean is 0/0."""


class AdaptedTimes:
    """The density of :class:`~trainables.info_noise.InfoNoise` during the training of one network.

    Its state, :attr:`sums`, is the same on all workers and a part of checkpoints.
    """

    def __init__(self, mode: Diffusion, steps: int, device: str) -> None:
        assert mode.info_noise is not None
        self._mode, self._settings = mode, mode.info_noise
        ends = torch.tensor([mode.t_low, mode.t_high], dtype=torch.float64)
        first, last = floats(mode.schedule.log_snr(ends))
        edges = torch.linspace(first, last, self._settings.bins + 1, dtype=torch.float64)
        times = mode.schedule.time(edges)
        uniform = ((times - mode.t_low) / (mode.t_high - mode.t_low)).clamp(0, 1)
        uniform[0], uniform[-1] = 0, 1
        self._edges = uniform.to(device)
        """The uniform numbers at which the strata of λ begin and end: [bins + 1], rising."""
        log_snr = (edges[:-1] + edges[1:]) / 2
        distance = (log_snr[:, None] - log_snr).abs()
        self._kernel = (-distance / SMOOTHING).exp().to(device)
        target = mode.target
        weight = mode.weight.on(log_snr, target) * error_ratio(log_snr, target)
        # The error of v varies slowly with λ at both ends, so it is the one that is smoothed. That
        # of ε, the rate of entropy over λ, is SNR/(1 + SNR) of it.
        factor = self._settings.gated(log_snr.sigmoid(), log_snr)
        self._factor = (factor / weight).to(device)
        self._first = math.ceil(self._settings.warmup * steps)
        self._decay = math.exp(-1 / self._first)
        self.sums = torch.zeros(2, self._settings.bins, dtype=torch.float64, device=device)
        """Decayed sums of squared errors of v, and of cases, per stratum: [2, bins], float64."""
        self._new = torch.zeros_like(self.sums)

    @property
    def shares(self) -> Tensor:
        """The share of the cases in each stratum, from the cleanest on: [bins], sum 1."""
        even = self._edges.diff()
        errors, cases = self.sums @ self._kernel + LEAST
        adapted = self._factor * errors / cases
        adapted = adapted / adapted.sum().clamp(min=LEAST)
        shares = (1 - self._settings.floor) * adapted + self._settings.floor * even
        return shares / shares.sum()

    def placed(self, batch: Batch, step: int) -> Batch:
        """Return the batch with its uniform numbers moved to follow the density."""
        if step < self._first:
            return batch
        shares, even, uniform = self.shares, self._edges.diff(), batch.uniform_B
        ends = shares.cumsum(0)
        stratum = torch.bucketize(uniform, ends, right=True).clamp(max=len(shares) - 1)
        inside = ((uniform - (ends - shares)[stratum]) / shares[stratum]).clamp(0, 1)
        return batch._replace(uniform_B=self._edges[stratum] + inside * even[stratum])

    def losses(self, network: Network, batch: Batch, classes: int, control: Control) -> Tensor:
        """Return the loss of each case, [B], and keep its error for :meth:`update`."""
        losses, errors = self._mode.losses_and_errors(network, batch, classes, control)
        known = errors.isfinite()  # also drops a divergence, which the loss reports
        found = torch.stack([errors.nan_to_num(0, 0, 0), known.double()])
        stratum = torch.bucketize(batch.uniform_B, self._edges, right=True) - 1
        strata = torch.arange(len(self._kernel), device=stratum.device)
        # A product, because on a GPU index_add sums in an order that changes.
        self._new += found @ (stratum.clamp(max=len(strata) - 1)[:, None] == strata).double()
        return losses

    def update(self, context: WorkerContext) -> None:
        """Add the errors of a step on all workers to the running mean."""
        self.sums = self.sums * self._decay + context.all_reduce_sum(self._new)
        self._new.zero_()


def adapted_times(mode: Mode, steps: int, device: str) -> AdaptedTimes | None:
    """Return the adapted times of a training; None where times are even."""
    if not isinstance(mode, Diffusion) or mode.info_noise is None or steps == 0:
        return None
    return AdaptedTimes(mode, steps, device)
