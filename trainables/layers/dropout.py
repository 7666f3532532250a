"""Dropout whose draws depend on the case, not on the batch, the worker or the device."""

from __future__ import annotations

from torch import Tensor

from trainables.interfaces.network import SeededLayer
from trainables.runtime.seeding import hashed


class Dropout2d(SeededLayer):
    """Drops whole channels in training (Tompson et al. 2015), chosen by the seed of the case.

    torch's layer draws from one global stream, so its numbers would depend on the number of workers
    and on resuming. :meth:`trainables.models.Network.seed` sets ``seeds`` [B] before each pass.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        assert self.seeds is not None, "Network.seed() comes before a training pass"
        kept = hashed(self.seeds, self.layer, x.shape[1]) >= self.p
        scaled = kept.to(x.dtype) / (1 - self.p)
        return x * scaled.to(x.device)[:, :, None, None]


class DropPath(SeededLayer):
    """Drops a residual branch of a case in training (Huang et al. 2016, stochastic depth).

    Branches may share a layer: each call after ``seeds`` [B] was set has its own draw.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        assert self.seeds is not None, "Network.seed() comes before a training pass"
        self.calls += 1
        kept = hashed(self.seeds, self.layer, self.calls)[:, -1] >= self.p
        scaled = kept.to(x.dtype) / (1 - self.p)
        return x * scaled.to(x.device).view(-1, *[1] * (x.ndim - 1))
