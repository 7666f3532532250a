"""Samplers, one file each: from noise to a mask by repeated denoising."""

from collections.abc import Callable

from torch import Tensor

from trainables.diffusion import as_images
from trainables.interfaces.sampler import Denoise, Estimate, Noise, Sampler, Visit
from trainables.torch_calls import sent

__all__ = ["Denoise", "Estimate", "Noise", "Sampler", "Visit", "scale_like"]


def scale_like(x: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that shapes coefficients [B], float64 on the CPU, to multiply ``x``."""
    return lambda value: sent(as_images(value), x.device)
