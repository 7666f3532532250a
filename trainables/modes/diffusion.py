"""Diffusion: the network denoises a noisy mask, given the noise level and the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from trainables import controls, masks
from trainables.controls import Control
from trainables.diffusion import (
    add_noise,
    alpha_sigma,
    as_images,
    bin_cost,
    error_ratio,
    step_divergence,
    target_of,
    to_x0,
)
from trainables.diffusion_settings import DiffusionSettings
from trainables.models import Features, Network, Output
from trainables.modes import Batch, Prediction
from trainables.runtime.seeding import generator
from trainables.samplers import Estimate, Noise
from trainables.segmenter import auxiliary, auxiliary_loss, blind_pass
from trainables.torch_calls import CPU, sent, unflattened


class _Denoised(NamedTuple):
    """The losses of a training pass, and what its errors are computed from."""

    losses_B: Tensor
    estimate: Tensor
    """The estimate of x0, [B, M, H, W]."""
    x0: Tensor
    log_snr_B: Tensor
    twin_B: Tensor
    """Which cases are trained as the feed-forward twin."""


@dataclass(frozen=True)
class Diffusion(DiffusionSettings):
    """Gaussian diffusion of an encoded mask.

    ``t_low`` and ``t_high`` restrict training and sampling to a part of the schedule. The network
    predicts ``target``. ``loss`` is the ``mse`` of the target; ``hybrid``, which adds
    ``vlb_weight`` × the variational bound for a step of a ``timesteps``-step process with learned
    variance, given the estimate of x0 before ``clip``; or ``cross_entropy``, whose head gives
    logits of the mask, so the target must be x0. ``weight`` weights each noise level, and
    ``dice_weight`` × (1 − soft Dice of x0) is added, and ``added_loss`` of the same mask.

    With ``evidence`` the log-odds from a pixel's own noisy value are added to the logits in closed
    form, so that the network learns only the information of the image and of the other pixels. The
    estimate is then exact near the clean end, where the noisy mask decides, and is the one that is
    probed. Samplers leave the evidence out unless ``sample_evidence``, and those of validation
    unless ``validate_evidence``: their noisy mask is the network's own guess, whose errors the
    evidence would keep. ``clip`` clamps estimates of x0 to the range of an encoded mask.

    ``image_dropout`` is the share of cases trained without their image, which makes the network an
    unconditional denoiser as well. ``feedforward_share`` is the share trained as the feed-forward
    twin (mask and t zero), so that it can guess a mask in one pass.

    Sampling starts from noise at ``t_high``, or from a guess noised to ``t_start``: ``one_step`` is
    the x0 estimate of pure noise, ``auxiliary`` the auxiliary output of that pass, ``feedforward``
    the pass of the twin.
    """

    version: ClassVar[int | str] = 2
    denoises: ClassVar[bool] = True

    def log_snr(self, t_B: Tensor, device: torch.device = CPU) -> Tensor:
        """Return λ(t) on a device, computed on the CPU in float64, where the times are."""
        return sent(self.schedule.log_snr(t_B.cpu().double()), device)

    def estimate(self, output: Output, x: Tensor, log_snr_B: Tensor) -> Estimate:
        """Return the estimate of x0, [B, M, H, W], from the output of a pass."""
        raw = self._unclipped(output, x, log_snr_B)
        bounded = self.clip and self.loss != "cross_entropy"  # expectations need no clipping
        return raw._replace(x0=self.encoding.clamp(raw.x0)) if bounded else raw

    def _unclipped(self, output: Output, x: Tensor, log_snr_B: Tensor) -> Estimate:
        if self.loss == "cross_entropy":
            logits = self.logits(output.main, x, log_snr_B)
            return Estimate(self.encoding.to_x0(self.encoding.expected(logits)))
        main, spread = output.main, None
        if self.loss == "hybrid":
            main, raw = output.main.chunk(2, 1)
            spread = (raw + 1) / 2
        return Estimate(to_x0(main, x, log_snr_B, self.target), spread)

    def denoise(
        self,
        network: Network,
        x: Tensor,
        t_B: Tensor,
        images: Tensor,
        features: Features | None = None,
    ) -> Estimate:
        """Make one network pass and return its estimate; ``t_B`` is on the CPU."""
        output = network(x, sent(t_B, x.device), images, features)
        return self.estimate(output, x, self.log_snr(t_B, x.device))

    def logits(self, main: Tensor, x: Tensor, log_snr_B: Tensor) -> Tensor:
        """Return the log-odds of the mask; the evidence log p(x|1) − log p(x|0) is 2αb(x − αc)/σ².

        For one-hot channels the same term per channel is the log-likelihood of its class, up to a
        constant that the softmax drops.
        """
        if not self.evidence:
            return main
        alpha, sigma = map(as_images, alpha_sigma(log_snr_B))
        slope = 2 * self.encoding.scale * alpha / sigma.square()
        return main + slope * (x - alpha * self.encoding.offset)

    def losses(self, network: Network, batch: Batch, classes: int, control: Control) -> Tensor:
        return self._denoised(network, batch, classes, control).losses_B

    def losses_and_errors(
        self, network: Network, batch: Batch, classes: int, control: Control
    ) -> tuple[Tensor, Tensor]:
        """Return the loss and the mean squared error of v of each case, [B].

        The error is that of the estimate of x0 times 1 + SNR, in float64; NaN for a case that is
        trained as the twin, which has no noise level.
        """
        done = self._denoised(network, batch, classes, control)
        square = (done.estimate.detach() - done.x0).square()
        ratio = error_ratio(done.log_snr_B, "v")
        error = ratio * masks.mean_counted(square, batch.labels_BHW).double()
        return done.losses_B, error.masked_fill(done.twin_B, math.nan)

    def _denoised(
        self, network: Network, batch: Batch, classes: int, control: Control
    ) -> _Denoised:
        """Make the training pass of a batch."""
        t = self.t_low + (self.t_high - self.t_low) * batch.uniform_B.double()
        labels, device = batch.labels_BHW, batch.labels_BHW.device
        log_snr = self.log_snr(t, device)
        x0 = self.encoding.encoded(labels, classes)
        x = add_noise(x0, log_snr, batch.noise_BMHW)
        if batch.other_labels_BHW is not None and batch.other_noise_BMHW is not None:
            other = self.encoding.encoded(batch.other_labels_BHW, classes)
            noise = batch.other_noise_BMHW
            x = controls.mask(control, x, add_noise(other, log_snr, noise), noise)
        blind = batch.twin_B < self.feedforward_share
        seen, at = x * as_images(~blind), sent(t, device) * ~blind
        images = batch.images_BCHW * as_images(batch.drop_B >= self.image_dropout)
        output = network(seen, at, images)

        if self.loss == "cross_entropy":
            logits = torch.where(
                blind[:, None, None, None], output.main, self.logits(output.main, x, log_snr)
            )
            mask = self.encoding.mask(masks.known(labels), classes)
            loss = masks.mean_counted(self.encoding.cross_entropy(logits, mask), labels)
            estimate = Estimate(self.encoding.to_x0(self.encoding.expected(logits)))
        else:
            estimate = self.estimate(output, x, log_snr)
            target = target_of(x0, batch.noise_BMHW, log_snr, self.target)
            main = output.main[:, : target.shape[1]]
            loss = masks.mean_counted((main - target).square(), labels)
        weight = self.weight.on(log_snr, self.target).to(loss)
        loss = loss * torch.where(blind, 1.0, weight)  # the twin has no noise level
        if self.loss == "hybrid":
            raw = self._unclipped(output, x, log_snr)
            loss = loss + self.vlb_weight * self._bound(x0, raw, t, labels)
        truth = masks.to_channels(labels, classes)
        if self.dice_weight > 0 or self.added_loss is not None:
            p = self.encoding.classes(self.encoding.to_mask(estimate.x0), classes)
            if self.dice_weight > 0:
                loss = loss + self.dice_weight * masks.soft_dice_loss(p, truth, labels)
            if self.added_loss is not None:
                loss = loss + self.added_loss.weight * self.added_loss.value(p, truth, labels)
        loss = loss + auxiliary_loss(output, truth, labels)
        return _Denoised(loss, estimate.x0, x0, log_snr, blind)

    def _bound(self, x0: Tensor, estimate: Estimate, t: Tensor, labels_BHW: Tensor) -> Tensor:
        """Return one step's term of the variational bound, bits per element, [B].

        Step i = t·(T − 1) leads to i − 1. The bound trains the variance only: the estimate of x0 is
        detached (Nichol & Dhariwal 2021, arXiv 2102.09672, section 3.1). Below i = 1 the term is
        the cost of the clean mask's bin, whose variance lies between the posterior's at i = 1 and
        β₀ = σ² at t = 0.
        """
        assert estimate.range is not None
        last = 1 / (self.timesteps - 1)
        device = x0.device
        there = self.log_snr((t - last).clamp(min=0), device)
        here = self.log_snr(t.clamp(min=last), device)
        mean = estimate.x0.detach()
        step = step_divergence(mean - x0, here, there, estimate.range)
        c, b = self.encoding.offset, self.encoding.scale
        ends = self.log_snr(torch.tensor([last, 0.0], dtype=t.dtype), device)
        clean = functional.logsigmoid(-ends[1]).float()
        posterior = clean + torch.log(-torch.expm1(ends[0] - ends[1])).float()
        log_variance = posterior + estimate.range * (clean - posterior)
        bins = bin_cost(x0 - c, mean - c, log_variance, b / 255, b)  # bins of 8-bit images: Ho 2020
        cost = torch.where(sent(as_images(t < last).bool(), device), bins, step)
        return masks.mean_counted(cost, labels_BHW) / math.log(2)

    def noise(self, images_BCHW: Tensor, classes: int, seeds: Sequence[int]) -> Noise:
        shape = (self.encoding.channels(classes), *images_BCHW.shape[2:])
        draws = [
            generator(seed, member) for seed in seeds for member in range(self.members)
        ]  # per case and member: a sample does not depend on what else is in the batch

        def draw() -> Tensor:
            drawn = torch.stack([torch.randn(shape, generator=g) for g in draws])
            return sent(drawn, images_BCHW.device)

        return draw

    def sampled(
        self,
        network: Network,
        images_BCHW: Tensor,
        classes: int,
        noise: Noise,
        control: Control,
    ) -> Prediction:
        """Predict all members of all cases in one batch; features are computed once per image."""
        features = network.features(images_BCHW)
        images, device = images_BCHW.repeat_interleave(self.members, 0), images_BCHW.device
        features = tuple(f.repeat_interleave(self.members, 0) for f in features)
        side_branch: list[Tensor | None] = []
        reader = self if self.sample_evidence else replace(self, evidence=False)

        def denoise(x: Tensor, t_B: Tensor) -> Estimate:
            seen = noise() if control == "random_mask" else x
            output = network(seen, sent(t_B, device), images, features)
            side_branch[:] = [auxiliary(output)]
            return reader.estimate(output, seen, self.log_snr(t_B, device))

        t_start, x0 = min(self.t_start, self.t_high), None
        if self.start == "feedforward":
            x0 = self._guess(network, images_BCHW, classes)
        if self.start in ("one_step", "auxiliary"):
            first = torch.full((len(images),), self.t_high)
            x0 = denoise(noise(), first).x0
            if self.start == "auxiliary":
                (side,) = side_branch
                assert side is not None, "Config refuses start='auxiliary' for other networks"
                x0 = self.encoding.to_x0(self.encoding.of_classes(side, classes))
        start = self.log_snr(torch.full((1,), t_start), device)
        # Noise at t_high is assumed to hide the mask: without a guess x starts from the encoding's
        # offset, which is correct while alpha is small there.
        alpha, sigma = map(as_images, alpha_sigma(start))
        x = sigma * noise() + alpha * (self.encoding.offset if x0 is None else x0)
        times = self.sampler.grid(self.schedule, t_start, self.t_low)
        x0 = self.sampler.sample(denoise, x, noise, self.schedule, times)
        p = self.encoding.classes(self.encoding.to_mask(x0), classes)

        def per_case(value: Tensor) -> Tensor:
            return unflattened(value, 0, (len(images_BCHW), self.members))

        (side,) = side_branch
        return Prediction(per_case(p), None if side is None else per_case(side).mean(1))

    def _guess(self, network: Network, images: Tensor, classes: int) -> Tensor:
        """Return the x0 of the feed-forward twin, repeated per member."""
        output = blind_pass(network, images, self.encoding.channels(classes))
        x0 = self.encoding.to_x0(self.encoding.expected(output.main))
        return x0.repeat_interleave(self.members, 0)
