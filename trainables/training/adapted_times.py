"""The times that a diffusion network is trained on, adapted while it trains."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from trainables.controls import Control
from trainables.diffusion import error_ratio
from trainables.models import Network
from trainables.modes import Batch, Mode
from trainables.modes.diffusion import Diffusion
from trainables.runtime.worker_context import WorkerContext
from trainables.torch_calls import floats, sent

SMOOTHING = 0.3
"""Log-SNR over which the kernel of the running mean falls to 1/e; nine tenths of the information of
a lone binary pixel lie in a range of 4.2."""
REFRESH = 10
"""Steps between two densities: only then is a GPU waited for."""
LEAST = 1e-100
"""A count and an error that every stratum has from the start, so that no mean is 0/0."""


class AdaptedTimes:
    """The density of :class:`~trainables.info_noise.InfoNoise` during the training of one network.

    Its :attr:`state` is the same on all workers and a part of checkpoints.
    """

    def __init__(self, mode: Diffusion, steps: int, device: str) -> None:
        assert mode.info_noise is not None
        self._mode, self._settings = mode, mode.info_noise
        ends = torch.tensor([mode.t_low, mode.t_high], dtype=torch.float64)
        first, last = floats(mode.schedule.log_snr(ends))
        edges = torch.linspace(first, last, self._settings.bins + 1, dtype=torch.float64)
        times = mode.schedule.time(edges)
        self._edges = ((times - mode.t_low) / (mode.t_high - mode.t_low)).clamp(0, 1)
        """The uniform numbers at which the strata of λ begin and end: [bins + 1], rising."""
        self._edges[0], self._edges[-1] = 0, 1
        log_snr = (edges[:-1] + edges[1:]) / 2
        self._kernel = (-(log_snr[:, None] - log_snr).abs() / SMOOTHING).exp()
        weight = mode.weight.on(log_snr, mode.target) * error_ratio(log_snr, mode.target)
        # The error of v varies slowly with λ at both ends, so it is the one that is smoothed. That
        # of ε, the rate of entropy over λ, is SNR/(1 + SNR) of it.
        self._factor = self._settings.gated(log_snr.sigmoid(), log_snr) / weight
        self._first = math.ceil(self._settings.warmup * steps)
        self._decay = math.exp(-1 / self._first)
        self.shares = self._edges.diff()
        """The share of the cases in each stratum, from the cleanest on: [bins], sum 1."""
        self.sums = torch.zeros(2, self._settings.bins, dtype=torch.float64, device=device)
        """Decayed sums of squared errors of v, and of cases, per stratum: [2, bins], float64."""
        self._new = torch.zeros_like(self.sums)

    @property
    def state(self) -> dict[str, Tensor]:
        """The tensors that change."""
        return {"shares": self.shares, "sums": self.sums}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state."""
        for name, value in self.state.items():
            value.copy_(state[name])

    def density(self) -> Tensor:
        """Return the shares that follow from the errors so far; waits for the device."""
        even = self._edges.diff()
        errors, cases = self.sums.cpu() @ self._kernel + LEAST
        adapted = self._factor * errors / cases
        adapted = adapted / adapted.sum().clamp(min=LEAST)
        shares = (1 - self._settings.floor) * adapted + self._settings.floor * even
        return shares / shares.sum()

    def placed(self, batch: Batch, step: int) -> Batch:
        """Return the batch with its uniform numbers moved to follow the density."""
        if step < self._first:
            return batch
        if (step - self._first) % REFRESH == 0:
            self.shares.copy_(self.density())
        uniform, ends = batch.uniform_B, self.shares.cumsum(0)
        stratum = torch.bucketize(uniform, ends, right=True).clamp(max=len(ends) - 1)
        inside = (uniform - (ends - self.shares)[stratum]) / self.shares[stratum]
        moved = torch.lerp(self._edges[stratum], self._edges[stratum + 1], inside.clamp(0, 1))
        return batch._replace(uniform_B=moved)

    def losses(self, network: Network, batch: Batch, classes: int, control: Control) -> Tensor:
        """Return the loss of each case, [B], and keep its error for :meth:`update`."""
        losses, errors = self._mode.losses_and_errors(network, batch, classes, control)
        known = errors.isfinite()  # also drops a divergence, which the loss reports
        counted = torch.stack([errors.nan_to_num(0, 0, 0), known.double()])
        stratum = torch.bucketize(batch.uniform_B, self._edges, right=True) - 1
        strata = torch.arange(self._settings.bins)
        inside = stratum.clamp(max=len(strata) - 1)[:, None] == strata
        # A product, because on a GPU index_add sums in an order that changes.
        self._new += counted @ sent(inside.double(), errors.device)
        return losses

    def update(self, context: WorkerContext) -> None:
        """Add the errors of a step on all workers to the running mean."""
        self.sums.mul_(self._decay).add_(context.all_reduce_sum(self._new))
        self._new.zero_()


def adapted_times(mode: Mode, steps: int, device: str) -> AdaptedTimes | None:
    """Return the adapted times of a training; None where times are even."""
    if not isinstance(mode, Diffusion) or mode.info_noise is None or steps == 0:
        return None
    return AdaptedTimes(mode, steps, device)
