"""Pictures of the first test cases: what a network was shown, what it should find, what it found.

8-bit PNGs, at most :data:`LONGEST` pixels wide and high. Kinds: ``image``; ``truth``, the mask;
``probability``, the ensemble's mean; ``uncertainty``, how far its members differ. A diffusion model
also has a strip of :data:`LEVELS` noise levels, clean first: ``noisy`` is x_t read as a mask,
``denoised`` the estimate of x0 given the image, ``blind`` that without it, where it was trained so.

Two classes are shown as the foreground's probability, black to white; of more the most probable
one, in as many greys from the background's black to the last class's white.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from trainables import masks
from trainables.config import Config
from trainables.data import Case, tiles
from trainables.evaluation import probe
from trainables.evaluation.evaluate import Row, Rows, predictions
from trainables.models import Network
from trainables.modes.diffusion import Diffusion
from trainables.runtime.worker_context import WorkerContext

LONGEST = 128
"""Pixels of a picture's longer side, at most."""
LEVELS = 6
"""Noise levels of a strip, evenly spaced in λ over the range that the mode trains on."""
PERCENTILES = (0.5, 99.5)
"""Of an image's values: shown black and white."""


def measure(
    config: Config, network: Network, cases: Sequence[Case], context: WorkerContext
) -> Rows:
    """Rows of this worker's share of the first ``test.pictures`` cases.

    Every case is predicted by itself: its pictures do not depend on who else is in the batch, and
    so not on how many workers there are.
    """
    found: list[Row] = []
    for i in range(context.rank, min(config.test.pictures, len(cases)), context.world):
        about = {"case": cases[i].name, "group": cases[i].group}
        shown = predictions(config, network, cases, [i], context, config.train.control)
        for case, p in shown:
            found += [{**about, **row} for row in _read(case, p.members[0], config.classes)]
        if isinstance(config.mode, Diffusion):
            strip = _strip(config, config.mode, network, cases[i], context)
            found += [{**about, **row} for row in strip]
    return Rows(pictures=found)


def _read(case: Case, p_NMHW: Tensor, classes: int) -> Iterator[Row]:
    """What a case is, and what the members say of it."""
    colours = case.pixels[:3] if len(case.pixels) >= 3 else case.pixels[:1]
    yield picture("image", _stretched(_reduced(colours.float(), "area")))
    yield picture("truth", _as_mask(masks.to_channels(case.labels[None], classes)[0]))
    mean = p_NMHW.mean(0)
    yield picture("probability", _as_mask(mean))
    # A lone member's is that of a draw from its own probability; ½, the largest of both, is white.
    alone = len(p_NMHW) == 1
    deviation = (mean * (1 - mean)).clamp(min=0).sqrt() if alone else p_NMHW.std(0, correction=0)
    yield picture("uncertainty", _reduced(2 * deviation.amax(0, keepdim=True), "area"))


def _strip(
    config: Config, mode: Diffusion, network: Network, case: Case, context: WorkerContext
) -> Iterator[Row]:
    """The noise levels of a tile; of an image larger than that, the one with most foreground."""
    cut = tiles([case], config.task.size)
    tile = max(cut, key=lambda t: int((t.labels > 0).sum()))
    noised, estimates = probe.strip(config, mode, network, tile, LEVELS, context)
    shown = {"noisy": noised.x, "denoised": estimates["image"]}
    if "dropped" in estimates:
        shown["blind"] = estimates["dropped"]
    for kind, x_LMHW in shown.items():
        p_LKHW = mode.encoding.classes(mode.encoding.to_mask(x_LMHW), config.classes)
        for p, t, log_snr in zip(p_LKHW, noised.times, noised.log_snr, strict=True):
            yield {**picture(kind, _as_mask(p)), "t": float(t), "log_snr": float(log_snr)}


def picture(kind: str, values_CHW: Tensor) -> Row:
    """Values in [0, 1] of one channel or three as a row's PNG; what is no number is black."""
    grey = (values_CHW.nan_to_num(0.0).clamp(0, 1) * 255).round().byte()
    array = grey.permute(1, 2, 0).numpy() if len(grey) == 3 else grey[0].numpy()
    sink = io.BytesIO()
    PIL.Image.fromarray(array).save(sink, "PNG", optimize=True)
    height, width = array.shape[:2]
    return {"kind": kind, "width": width, "height": height, "png": sink.getvalue()}


def _as_mask(p_KHW: Tensor) -> Tensor:
    """Class probabilities as greys, [1, h, w]."""
    if len(p_KHW) == 1:
        return _reduced(p_KHW, "area")
    index = masks.to_labels(p_KHW[None]).float() / (len(p_KHW) - 1)
    return _reduced(index, "nearest-exact")


def _reduced(values_CHW: Tensor, mode: str) -> Tensor:
    """The same, its longer side at most :data:`LONGEST`."""
    height, width = values_CHW.shape[1:]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return values_CHW
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return interpolate(values_CHW[None], size, mode=mode)[0]


def _stretched(values_CHW: Tensor) -> Tensor:
    """An image's usual values in [0, 1], all its channels alike."""
    low, high = np.percentile(values_CHW.numpy(), PERCENTILES).tolist()
    return (values_CHW - low) / max(high - low, torch.finfo(torch.float32).tiny)
