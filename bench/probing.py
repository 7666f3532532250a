"""Network passes for one standard error of a total: how probes are drawn, against naive draws.

Exact denoisers of masks made of independent blocks, each one of finitely many templates: single
pixels, and cells of 8 × 8 pixels that hold a square of 4 × 4 anywhere or nothing. The image is the
mask in unit Gaussian noise. Naive: timesteps uniform over DDPM's linear schedule, weighted by
dλ/dt, each denoiser with noise of its own, half the difference of their errors. Ours, as probes
are: 16 strata of λ with an antithetic pair in each, both denoisers with the same noise, half the
squared distance of their estimates. The cases stay as they are: more passes tell nothing of other
cases. A ratio of variances at equal passes is a ratio of passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.evaluation.probe import inside
from trainables.schedules.linear import Linear

BINS, DRAWS = 16, 2
LEVELS, REPEATS = BINS * DRAWS, 300
SCHEDULE = Linear()


@dataclass(frozen=True)
class Task:
    """One mask of blocks, and what each denoiser knows of it before it sees a noisy mask."""

    templates: Tensor
    """What a block can be, {0, 1}: [T, pixels]."""
    prior: Tensor
    """[T]."""
    mask: Tensor
    """[blocks, pixels]."""
    image: Tensor
    """The same in unit noise."""

    @staticmethod
    def of(templates: Tensor, prior: Tensor, blocks: int, draws: torch.Generator) -> Task:
        mask = templates[torch.multinomial(prior, blocks, True, generator=draws)]
        noise = torch.randn(mask.shape, generator=draws, dtype=torch.float64)
        return Task(templates, prior, mask, mask + noise)

    def x0(self, x: Tensor, log_snr: Tensor, seen: bool) -> Tensor:
        """E[x0 | x, image] or E[x0 | x], by Bayes' rule: [levels, blocks, pixels]."""
        alpha, square = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid()
        odds = 2 * alpha / square * x + (self.image - 0.5 if seen else 0.0)
        p = (odds @ self.templates.T + self.prior.log()).softmax(-1)
        return 2 * p @ self.templates - 1

    def total(
        self, levels: tuple[Tensor, Tensor], draws: torch.Generator, paired: bool, orthogonal: bool
    ) -> float:
        """I(mask; image) in nats per pixel, from two passes per level of λ with its weight."""
        log_snr, weight = levels
        x0 = 2 * self.mask - 1

        def noisy() -> Tensor:
            eps = torch.randn(len(log_snr), *x0.shape, generator=draws, dtype=torch.float64)
            return log_snr.sigmoid().sqrt() * x0 + (-log_snr).sigmoid().sqrt() * eps

        x = noisy()
        own = x if paired else noisy()
        image, dropped = self.x0(x, log_snr, True), self.x0(own, log_snr, False)
        if orthogonal:
            density = (image - dropped).square()
        else:
            density = (dropped - x0).square() - (image - x0).square()
        return float((density * log_snr.exp() * weight).sum() / 2 / x0.numel())


def main() -> None:
    """Print, per task, the standard error of each estimator and how many passes it saves."""
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
            found = [task.total(levels(draws), draws, paired, orthogonal) for _ in range(REPEATS)]
            totals = torch.tensor(found).double() / math.log(2)
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
    """λ of timesteps anywhere, and |dλ/dt| over their number: [LEVELS, 1, 1] each."""
    step = 1e-4
    t = torch.rand(LEVELS, 1, 1, generator=draws, dtype=torch.float64).clamp(step, 1 - step)
    slope = (SCHEDULE.log_snr(t - step) - SCHEDULE.log_snr(t + step)) / (2 * step)
    return SCHEDULE.log_snr(t), slope / LEVELS


def stratified(draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """λ as probes draw it, and the width that each stands for: [LEVELS, 1, 1] each."""
    high, low = SCHEDULE.log_snr(torch.tensor([0.0, 1.0]).double()).tolist()
    width = (high - low) / BINS
    log_snr = low + width * (torch.arange(BINS)[:, None] + inside(BINS, DRAWS, draws))
    return log_snr.reshape(-1, 1, 1), torch.tensor(width / DRAWS).double()
