"""Pictures of the first test cases: the image, the true mask and the prediction.

The pictures are 8-bit PNGs, at most :data:`LONGEST` pixels wide and high. Their kinds are
``image``; ``truth``, the mask; ``probability``, the mean of the ensemble; ``uncertainty``, the
deviation of its members. A diffusion model also has a strip of :data:`LEVELS` noise levels, clean
first: ``noisy`` is x_t as a mask, ``denoised`` the estimate of x0 given the image, and ``blind``
the estimate without the image, for a network that was trained with image dropout. There is no
strip of a network that was trained on another case's image or mask, or on noise.

Two classes are shown as the foreground's probability, from black to white. More classes are shown
as the most probable class, in equally spaced greys from black (background) to white (last class).
Ignored pixels of a true mask are mid-grey with two classes, and black with more.
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
from trainables.data import Case, tiles
from trainables.evaluation import probe
from trainables.evaluation.predict import predictions
from trainables.models import Network
from trainables.modes.diffusion import Diffusion
from trainables.rows import Picture, PictureRow, Rows
from trainables.run import Run

LONGEST = 128
"""The largest size of a picture's longer side, in pixels."""
STRIPS = ("none", "dropped_image")
"""The controls of a training under which a strip shows what the network saw in training."""
LEVELS = 6
"""Noise levels in a strip, evenly spaced in λ over the range that the mode trains on."""
PERCENTILES = (0.5, 99.5)
"""The percentiles of an image's values that are shown black and white."""


def measure(run: Run, network: Network) -> Rows:
    """Return the rows of this worker's share of the first ``test.pictures`` test cases.

    A volume is shown by its slice with most foreground. Every case is predicted alone, so its
    pictures do not depend on the other cases in a batch, and therefore not on the number of
    workers.
    """
    config, cases = run.config, run.data.test
    rows: list[PictureRow] = []
    shown_of_each = _shown(cases)[: config.test.pictures]
    for i in shown_of_each[run.context.rank :: run.context.world]:
        for case, p in predictions(run, network, cases, [i], config.train.control):
            shown = [*_prediction(case, p.members[0], config.classes)]
            if isinstance(config.mode, Diffusion) and config.train.control in STRIPS:
                shown += _strip(run, config.mode, network, case)
            rows.extend({"case": case.name, "group": case.group, **each} for each in shown)
    return Rows(pictures=rows)


def _shown(cases: Sequence[Case]) -> list[int]:
    """Return the index of the slice of each case that has most foreground."""
    most: dict[str, tuple[int, int]] = {}
    for i, case in enumerate(cases):
        foreground = int((masks.known(case.labels) > 0).sum()) if case.volume else 0
        if foreground > most.get(case.whole, (-1, 0))[0]:
            most[case.whole] = (foreground, i)
    return [i for _, i in most.values()]


def _prediction(case: Case, p_NMHW: Tensor, classes: int) -> Iterator[Picture]:
    """Yield the image, the true mask, and the mean and deviation of the members."""
    colours = case.pixels[:3] if len(case.pixels) >= 3 else case.pixels[:1]
    yield picture("image", _stretched(_reduced(colours.float(), "area")))
    yield picture("truth", _as_mask(masks.to_channels(case.labels[None], classes)[0]))
    mean = p_NMHW.mean(0)
    yield picture("probability", _as_mask(mean))
    # A single member has the deviation of a draw from its probability. ½, the largest deviation of
    # either kind, is white.
    single = len(p_NMHW) == 1
    deviation = (mean * (1 - mean)).clamp(min=0).sqrt() if single else p_NMHW.std(0, correction=0)
    yield picture("uncertainty", _reduced(2 * deviation.amax(0, keepdim=True), "area"))


def _strip(run: Run, mode: Diffusion, network: Network, case: Case) -> Iterator[Picture]:
    """Yield the noise levels of the tile of a case that has most foreground."""
    classes = run.config.classes
    cut = tiles([case], run.config.task.size)
    tile = max(cut, key=lambda t: int((masks.known(t.labels) > 0).sum()))
    noised, estimates = probe.strip(run, mode, network, tile, LEVELS)
    shown = {"noisy": noised.x, "denoised": estimates["image"]}
    if "dropped" in estimates:
        shown["blind"] = estimates["dropped"]
    for kind, x_LMHW in shown.items():
        p_LKHW = mode.encoding.classes(mode.encoding.to_mask(x_LMHW), classes)
        for p, t, log_snr in zip(p_LKHW, noised.times, noised.log_snr, strict=True):
            yield {**picture(kind, _as_mask(p)), "t": float(t), "log_snr": float(log_snr)}


def picture(kind: str, values_CHW: Tensor) -> Picture:
    """Return values in [0, 1] of one or three channels as a PNG; NaN is black."""
    grey = (values_CHW.nan_to_num(0.0).clamp(0, 1) * 255).round().byte()
    array = grey.permute(1, 2, 0).numpy() if len(grey) == 3 else grey[0].numpy()
    buffer = io.BytesIO()
    PIL.Image.fromarray(array).save(buffer, "PNG", optimize=True)
    height, width = array.shape[:2]
    return {"kind": kind, "width": width, "height": height, "png": buffer.getvalue()}


def _as_mask(p_KHW: Tensor) -> Tensor:
    """Return class probabilities as greys, [1, h, w]."""
    if len(p_KHW) == 1:
        return _reduced(p_KHW, "area")
    index = masks.to_labels(p_KHW[None]).float() / (len(p_KHW) - 1)
    return _reduced(index, "nearest-exact")


def _reduced(values_CHW: Tensor, mode: str) -> Tensor:
    """Return the values with a longer side of at most :data:`LONGEST`."""
    height, width = values_CHW.shape[1:]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return values_CHW
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return interpolate(values_CHW[None], size, mode=mode)[0]


def _stretched(values_CHW: Tensor) -> Tensor:
    """Return an image with :data:`PERCENTILES` of all its values at 0 and 1."""
    low, high = np.percentile(values_CHW.numpy(), PERCENTILES).tolist()
    return (values_CHW - low) / max(high - low, torch.finfo(torch.float32).tiny)
