"""Batch normalisation over the global batch, for any number of workers."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.nn import functional as collective


class BatchNorm2d(nn.BatchNorm2d):
    """Ioffe & Szegedy 2015, with statistics over all workers; SyncBatchNorm needs a GPU."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        x = input.float()
        here = x.new_full((1,), x.numel() / x.shape[1])
        # Double precision, because the variance is a difference of large numbers.
        wide = x.double()
        sums = torch.cat([wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3)), here.double()])
        totals = cast("Tensor", collective.all_reduce(sums))  # pyright: ignore[reportUnknownMemberType]
        count = totals[-1].detach()
        mean, square = totals[:-1].reshape(2, -1) / count
        variance = (square - mean.square()).clamp(min=0)
        mean, variance, count = mean.float(), variance.float(), count.float()
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        scaled = (x - _map(mean)) * _map((variance + self.eps).rsqrt())
        return (scaled * _map(self.weight) + _map(self.bias)).to(input.dtype)


def _map(per_channel_C: Tensor) -> Tensor:
    return per_channel_C[None, :, None, None]
