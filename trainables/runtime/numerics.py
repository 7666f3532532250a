"""The numerics of torch's kernels: TF32, and deterministic convolutions."""

from __future__ import annotations

import torch


def select_numerics(precision: str, device: str) -> None:
    """Select TF32 if ``precision`` is ``tf32``, and deterministic convolutions on a GPU.

    A process is reused for trials of other precisions. Matrix products of a CPU are not concerned.
    """
    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    if device != "cpu":
        torch.backends.cudnn.deterministic = True
