"""Diffusion: the network denoises a noisy mask given the image; a mask is sampled from noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from trainables import masks
from trainables.diffusion import Target, add_noise, alpha_sigma, as_images, target_of, to_x0
from trainables.draws import generator
from trainables.models import Network
from trainables.modes import Batch, Mode
from trainables.part import require
from trainables.samplers import Sampler
from trainables.samplers.ddim import DDIM
from trainables.schedules import Schedule
from trainables.schedules.linear import Linear


@dataclass(frozen=True)
class Diffusion(Mode):
    """Gaussian diffusion of an encoded mask x0 = scale·(2m − 1) + offset.

    ``t_low`` and ``t_high`` restrict training and sampling to a part of the schedule. With
    ``loss='bce'`` the head is read as logits of the mask, so ``target`` must be ``x0``; ``'mse'``
    is the mean squared error of the target. ``image_dropout`` is the share of cases trained
    without their image, which makes the network the unconditional denoiser as well.

    With ``evidence`` the log-odds that a pixel's own noisy value gives are added to the logits in
    closed form, so the network only learns what the rest of the mask and the image tell. Near the
    clean end, where the noisy mask already decides, the estimate is then exact.
    """

    schedule: Schedule = field(default_factory=Linear)
    sampler: Sampler = field(default_factory=DDIM)
    members: int = 1
    t_low: float = 0.0
    t_high: float = 1.0
    scale: float = 1.0
    offset: float = 0.0
    target: Target = "x0"
    loss_on: Literal["bce", "mse"] = "bce"
    evidence: bool = True
    image_dropout: float = 0.1

    def __post_init__(self) -> None:
        require(
            0 <= self.t_low < self.t_high <= 1,
            f"t_low={self.t_low}, t_high={self.t_high} must satisfy 0 <= t_low < t_high <= 1",
        )
        require(self.scale > 0, f"scale={self.scale} must be positive")
        require(self.members >= 1, f"members={self.members} must be at least 1")
        require(
            0 <= self.image_dropout < 1, f"image_dropout={self.image_dropout} must lie in [0, 1)"
        )
        require(
            self.loss_on == "mse" or self.target == "x0",
            f"loss_on='bce' reads the head as mask logits, so target={self.target!r} must be 'x0'",
        )

    @property
    def passes(self) -> int:
        return self.members * self.sampler.passes

    def encode(self, mask: Tensor) -> Tensor:
        """{0, 1} channels to x0."""
        return self.scale * (2 * mask - 1) + self.offset

    def decode(self, x0: Tensor) -> Tensor:
        """x0 to {0, 1} channels, clamped: a denoiser's mean is then a probability."""
        p = (((x0 - self.offset) / self.scale + 1) / 2).clamp(0, 1)
        return p if p.shape[1] == 1 else p / p.sum(1, keepdim=True).clamp(min=1e-6)

    def time_of(self, uniform: Tensor) -> Tensor:
        """Uniform draws to times in the range, float64."""
        return self.t_low + (self.t_high - self.t_low) * uniform.double()

    def denoise(self, network: Network, x: Tensor, t_B: Tensor, images: Tensor) -> Tensor:
        """The estimate of x0, [B, M, H, W]: one network pass."""
        output, log_snr = network(x, t_B, images), self.log_snr(t_B)
        if self.loss_on == "bce":
            return self.encode(masks.probabilities(self.logits(output, x, log_snr)))
        return to_x0(output, x, log_snr, self.target)

    def logits(self, output: Tensor, x: Tensor, log_snr_B: Tensor) -> Tensor:
        """Log-odds of the mask: log p(x | 1) − log p(x | 0) = 2αb(x − αc)/σ² is the evidence.

        For one-hot channels the same term per channel is the log-likelihood of its class, up to a
        constant that the softmax drops.
        """
        if not self.evidence:
            return output
        alpha, sigma = map(as_images, alpha_sigma(log_snr_B))
        return output + 2 * self.scale * alpha * (x - alpha * self.offset) / sigma.square()

    def log_snr(self, t_B: Tensor) -> Tensor:
        """λ(t) on the CPU in float64, brought back to the device."""
        return self.schedule.log_snr(t_B.cpu().double()).to(t_B.device)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        t = self.time_of(batch.uniform_B)
        log_snr = self.log_snr(t)
        x0 = self.encode(batch.masks_BMHW)
        x = add_noise(x0, log_snr, batch.noise_BMHW)
        images = batch.images_BCHW * as_images(batch.drop_B >= self.image_dropout)
        output = network(x, t, images)
        if self.loss_on == "bce":
            return masks.cross_entropy(self.logits(output, x, log_snr), batch.masks_BMHW)
        target = target_of(x0, batch.noise_BMHW, log_snr, self.target)
        return (output - target).square().flatten(1).mean(1)

    def predict(
        self, network: Network, images_BCHW: Tensor, mask_channels: int, seeds: Sequence[int]
    ) -> Tensor:
        """The mean of ``members`` samples, all members of all cases in one batch."""
        images = images_BCHW.repeat_interleave(self.members, 0)
        _, _, height, width = images.shape
        draws = [
            generator(seed, member) for seed in seeds for member in range(self.members)
        ]  # per case and member: a sample does not depend on what else is in the batch

        def noise() -> Tensor:
            drawn = [torch.randn(mask_channels, height, width, generator=g) for g in draws]
            return torch.stack(drawn).to(images.device)

        def denoise(x: Tensor, t_B: Tensor) -> Tensor:
            return self.denoise(network, x, t_B, images)

        x0 = self.sampler.sample(denoise, noise, self.schedule, self.t_high, self.t_low)
        return self.decode(x0).unflatten(0, (len(seeds), self.members)).mean(1)
