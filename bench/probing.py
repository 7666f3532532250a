"""Network passes for a given standard error of a total: probe draws against naive draws.

The denoisers are exact. Masks consist of independent blocks, each one of finitely many templates:
single pixels, or 8 × 8 pixels that are empty or contain a square of 4 × 4 at any position. The
image is the mask with unit Gaussian noise. Naive draws take timesteps uniformly from DDPM's linear
schedule, weight them by dλ/dt, draw noise for each denoiser separately, and use half the difference
of the errors. Probes draw an antithetic pair in each of 16 strata of λ, share the noise, and use
half the squared distance of the estimates. The cases are fixed, because more passes do not replace
more cases. A ratio of variances at equal passes is a ratio of passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.evaluation.probe import positions_in_strata
from trainables.schedules.linear import Linear

BINS, DRAWS = 16, 2
LEVELS, REPEATS = BINS * DRAWS, 300
SCHEDULE = Linear()


@dataclass(frozen=True)
class Task:
    """A mask of blocks with its image, and the prior of the denoisers."""

    templates: Tensor
    """The possible blocks, {0, 1}: [T, pixels]."""
    prior: Tensor
    """The probability of each template: [T]."""
    mask: Tensor
    """{0, 1}: [blocks, pixels]."""
    image: Tensor
    """The mask with unit Gaussian noise: [blocks, pixels]."""

    @staticmethod
    def of(templates: Tensor, prior: Tensor, blocks: int, draws: torch.Generator) -> Task:
        mask = templates[torch.multinomial(prior, blocks, True, generator=draws)]
        noise = torch.randn(mask.shape, generator=draws, dtype=torch.float64)
        return Task(templates, prior, mask, mask + noise)

    def x0(self, x: Tensor, log_snr: Tensor, seen: bool) -> Tensor:
        """Return E[x0 | x, image] if ``seen``, else E[x0 | x]: [levels, blocks, pixels]."""
        alpha, square = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid()
        odds = 2 * alpha / square * x + (self.image - 0.5 if seen else 0.0)
        p = (odds @ self.templates.T + self.prior.log()).softmax(-1)
        return 2 * p @ self.templates - 1

    def total(
        self, levels: tuple[Tensor, Tensor], draws: torch.Generator, paired: bool, orthogonal: bool
    ) -> float:
        """Estimate I(mask; image) in nats per pixel with two passes per weighted level of λ."""
        log_snr, weight = levels
        x0 = 2 * self.mask - 1

        def noisy() -> Tensor:
            eps = torch.randn(len(log_snr), *x0.shape, generator=draws, dtype=torch.float64)
            return log_snr.sigmoid().sqrt() * x0 + (-log_snr).sigmoid().sqrt() * eps

        x = noisy()
        x_dropped = x if paired else noisy()
        image, dropped = self.x0(x, log_snr, True), self.x0(x_dropped, log_snr, False)
        if orthogonal:
            density = (image - dropped).square()
        else:
            density = (dropped - x0).square() - (image - x0).square()
        return float((density * log_snr.exp() * weight).sum() / 2 / x0.numel())


def main() -> None:
    """Print per task the standard error of each estimator, and the passes that it saves."""
    torch.set_num_threads(1)
    draws = torch.Generator().manual_seed(0)
    for name, task in tasks(draws).items():
        naive = math.nan
        for way, levels, paired, orthogonal in (
            ("naive", uniform, False, False),
            ("stratified", stratified, False, False),
            ("stratified, paired", stratified, True, False),
            ("stratified, paired, orthogonal", stratified, True, True),
        ):
            estimates = [
                task.total(levels(draws), draws, paired, orthogonal) for _ in range(REPEATS)
            ]
            totals = torch.tensor(estimates).double() / math.log(2)
            spread = float(totals.std())
            naive = spread if way == "naive" else naive
            print(
                f"probing: {name}: {way}: {totals.mean():.4f} bits per pixel, standard error"
                f" {spread:.5f} of {2 * LEVELS} passes, {(naive / spread) ** 2:.1f}x fewer passes"
            )


def tasks(draws: torch.Generator) -> dict[str, Task]:
    pixel = torch.tensor([[0.0], [1.0]]).double()
    squares = torch.zeros(26, 8, 8).double()
    for i in range(25):
        row, column = divmod(i, 5)
        squares[i, row : row + 4, column : column + 4] = 1
    prior = torch.tensor([0.02] * 25 + [0.5]).double()
    return {
        "single pixels": Task.of(pixel, torch.tensor([0.7, 0.3]).double(), 1024, draws),
        "squares": Task.of(squares.flatten(1), prior, 64, draws),
    }


def uniform(draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return λ of uniform timesteps, and the weights |dλ/dt| / LEVELS: [LEVELS, 1, 1] each."""
    step = 1e-4
    t = torch.rand(LEVELS, 1, 1, generator=draws, dtype=torch.float64).clamp(step, 1 - step)
    slope = (SCHEDULE.log_snr(t - step) - SCHEDULE.log_snr(t + step)) / (2 * step)
    return SCHEDULE.log_snr(t), slope / LEVELS


def stratified(draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return λ as probes draw it, [LEVELS, 1, 1], and the weight: the width per draw."""
    high, low = SCHEDULE.log_snr(torch.tensor([0.0, 1.0]).double()).tolist()
    width = (high - low) / BINS
    log_snr = low + width * (torch.arange(BINS)[:, None] + positions_in_strata(BINS, DRAWS, draws))
    return log_snr.reshape(-1, 1, 1), torch.tensor(width / DRAWS).double()
