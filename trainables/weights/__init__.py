"""Loss weights, one file each: how much each noise level counts."""

from torch import Tensor

from trainables.diffusion import Target, error_ratio
from trainables.interfaces.weight import Weight

__all__ = ["Weight", "restated"]


def restated(weight: Tensor, log_snr: Tensor, given: Target, target: Target) -> Tensor:
    """Convert a weight on the squared error of ``given`` to the same loss in terms of ``target``.

    The errors of ε and v are the error of x0 times SNR and 1 + SNR, so the weight is divided by
    these.
    """
    return weight * error_ratio(log_snr, given) / error_ratio(log_snr, target)
