"""Dropout whose draws belong to the case, not to the batch, the worker or the device."""

from __future__ import annotations

from torch import Tensor, nn

from trainables.runtime.seeding import hashed


class Dropout2d(nn.Module):
    """Drops whole channels in training (Tompson et al. 2015), the same ones for a case's seed.

    torch's own draws from one global stream, so its numbers would change with the number of
    workers and on resuming. ``seeds`` [B] is set before each training pass by
    :meth:`trainables.models.Network.seed`.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.layer = 0
        self.seeds: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        assert self.seeds is not None, "Network.seed() comes before a training pass"
        kept = hashed(self.seeds, self.layer, x.shape[1]) >= self.p
        scaled = kept.to(x.dtype) / (1 - self.p)
        return x * scaled.to(x.device)[:, :, None, None]


class DropPath(nn.Module):
    """Drops a residual branch of a whole case in training (Huang et al. 2016, stochastic depth).

    Branches may share a layer: each call since ``seeds`` [B] was set has a draw of its own.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.layer = 0
        self.calls = 0
        self.seeds: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        assert self.seeds is not None, "Network.seed() comes before a training pass"
        self.calls += 1
        kept = hashed(self.seeds, self.layer, self.calls)[:, -1] >= self.p
        scaled = kept.to(x.dtype) / (1 - self.p)
        return x * scaled.to(x.device).view(-1, *[1] * (x.ndim - 1))


def seed(network: nn.Module, seeds_B: Tensor) -> None:
    """Give every dropout layer of a network the cases' seeds of the next pass, int64 [B]."""
    layers = (m for m in network.modules() if isinstance(m, Dropout2d | DropPath))
    for number, layer in enumerate(layers):
        layer.layer, layer.seeds = number, seeds_B
        if isinstance(layer, DropPath):
            layer.calls = 0
