"""What the parts of each kind must keep; parts in users' files are checked before they are used.

A check is quick and needs no data: it tries a part on small inputs whose answer is known.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast, get_args

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from trainables import distance_bins, masks, user_files
from trainables.datasets import Dataset
from trainables.diffusion import Target, alpha_sigma
from trainables.encodings import Encoding
from trainables.losses import Loss
from trainables.metrics import Metric
from trainables.models import Ensemble, Features, Model, Network, Output, Ports
from trainables.modes import Batch, Mode
from trainables.part import Part, parts_in, singular
from trainables.samplers import Estimate, Sampler
from trainables.schedules import Schedule
from trainables.schedules.cosine import Cosine
from trainables.schemas import BINS, SCHEMAS
from trainables.torch_calls import floats
from trainables.weights import Weight

TIMES = torch.linspace(0, 1, 101, dtype=torch.float64)
"""Hundredths of the time of a process."""
STORED_BINS = {"calibration": BINS, "surfaces": distance_bins.BINS}
TABLES = ("cases", "calibration", "samples", "annotators", "instances", "surfaces")
CASES = 3


def check_users_parts(config: object) -> None:
    """Check the parts of a config that are in users' files.

    Raises:
        ValueError: a part breaks a rule; one line that names the file and the rule.
    """
    for part in parts_in(config):
        if part.file is not None:
            check(part)


@functools.lru_cache(maxsize=256)
def check(part: Part) -> None:
    """Check a part by the rules of its kind, each of which has one in this file.

    Raises:
        ValueError: it breaks one; the message names the part and the rule.
    """
    try:
        RULES[part.kind](part)
    except BrokenRuleError as error:
        raise ValueError(f"{_named(part)}: {error}") from error
    except Exception as error:
        text = user_files.explained(error)  # None if it arose where this program uses the part
        text = text or f"{_named(part)}: {type(error).__name__}: {error}"
        raise ValueError(" ".join(text.split())) from error


def _named(part: Part) -> str:
    return f"{singular(part.kind)} {str(part.file or part.name)!r}"


class BrokenRuleError(ValueError):
    """A part breaks a rule of its kind."""


def _rule(condition: bool, message: str) -> None:
    if not condition:
        raise BrokenRuleError(message)


def _tensor(value: object, what: str, shape: tuple[int, ...]) -> Tensor:
    """Return a finite tensor of a shape.

    Raises:
        BrokenRuleError: the value is no such tensor.
    """
    _rule(isinstance(value, Tensor), f"{what} must return a tensor, not {type(value).__name__}")
    tensor = cast("Tensor", value)
    found = tuple(tensor.shape)
    _rule(found == shape, f"{what} must return the shape {shape}, not {found}")
    _rule(bool(tensor.isfinite().all()), f"{what} must be finite, it has a NaN or inf")
    return tensor


def _schedule(schedule: Schedule) -> None:
    """Log-SNR is finite and falls strictly from t = 0 to t = 1, at any shape of t."""
    log_snr = _tensor(schedule.log_snr(TIMES), "log_snr(t)", (len(TIMES),))
    levels = floats(log_snr)
    for i in range(len(levels) - 1):
        _rule(
            levels[i + 1] < levels[i],
            f"log_snr must fall strictly with t, it goes from {levels[i]:.4g} at t={i / 100:.2f} to"
            f" {levels[i + 1]:.4g} at t={(i + 1) / 100:.2f}",
        )
    folded = _tensor(schedule.log_snr(TIMES[:100].reshape(4, 25)), "log_snr(t)", (4, 25))
    _rule(
        torch.allclose(folded.flatten(), log_snr[:100]),
        "log_snr(t) must depend on each t alone, not on its place in the tensor",
    )


def _dataset(dataset: Dataset) -> None:
    """Class names and channels; what `scan` yields is checked where it is read."""
    classes = cast("Any", dataset.classes)
    _rule(
        isinstance(classes, tuple)
        and len(cast("tuple[object, ...]", classes)) >= 2
        and all(isinstance(name, str) for name in cast("tuple[object, ...]", classes)),
        f"classes must be two names or more, the background first, not {classes!r}",
    )
    for name in ("channels", "size"):
        value: object = getattr(dataset, name)
        _rule(
            isinstance(value, int) and value >= 1,
            f"{name} must be a positive number, not {value!r}",
        )
    for name in ("licence", "citation"):
        text: object = getattr(dataset, name, None)
        _rule(isinstance(text, str), f"{name} must be a text, as a class variable")


def _model(model: Model) -> None:
    stride = cast("Any", model.stride)
    _rule(
        isinstance(stride, int) and stride >= 1, f"stride must be a positive number, not {stride!r}"
    )


def _weight(weight: Weight) -> None:
    """Weights of each target are positive at any noise level."""
    levels = torch.linspace(-10, 10, 41, dtype=torch.float64)
    for target in cast("tuple[Target, ...]", get_args(Target)):
        what = f"on(log_snr, {target!r})"
        value = _tensor(weight.on(levels, target), what, (len(levels),))
        _rule(bool((value > 0).all()), f"{what} must be positive")


def _encoding(encoding: Encoding) -> None:
    """A mask is decoded as it was encoded, for two, three and five classes."""
    for classes in (2, 3, 5):
        labels = (torch.arange(60).reshape(1, 6, 10) % classes).byte()
        channels = encoding.channels(classes)
        mask = _tensor(encoding.mask(labels, classes), "mask(labels)", (1, channels, 6, 10))
        decoded = encoding.classes(encoding.to_mask(encoding.to_x0(mask)), classes)
        _rule(
            torch.equal(masks.to_labels(decoded), labels),
            f"classes(mask(labels)) must give the labels back, it does not for {classes} classes",
        )


class _Pixelwise(Network):
    """A network of one linear map per pixel."""

    def __init__(self, ports: Ports) -> None:
        super().__init__()
        self.layer = nn.Conv2d(ports.image + ports.mask, ports.out, 1)

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        return Output(self.layer(torch.cat([mask_BMHW, image_BCHW], 1)))


def _mode(mode: Mode) -> None:
    """A finite loss per case, and probabilities of each member, for two and three classes."""
    for classes in (2, 3):
        ports = mode.ports(1, classes)
        draws = torch.Generator().manual_seed(0)
        images = torch.randn((2, 1, 8, 8), generator=draws)
        labels = (torch.arange(128).reshape(2, 8, 8) // 5 % classes).byte()
        noise = torch.randn((2, ports.mask, 8, 8), generator=draws)
        half = torch.tensor([0.25, 0.75])
        batch = Batch(images, labels, half, half, half, torch.arange(2), noise)
        network = _Pixelwise(ports)
        _tensor(mode.losses(network, batch, classes, "none"), "losses(...)", (2,))
        whole = Ensemble([network] * mode.runs) if mode.runs > 1 else network
        with torch.no_grad():
            p = mode.predict(whole, images, classes, [0, 1], "none").members
        members = (2, mode.ensemble, masks.channels(classes), 8, 8)
        p = _tensor(p, "predict(...).members", members)
        _rule(bool(((p >= 0) & (p <= 1)).all()), "predict(...).members must lie in [0, 1]")


def _sampler(sampler: Sampler) -> None:
    """With a denoiser that knows the mask, the sample is the mask; passes are as declared."""
    schedule = Cosine()
    mask = torch.where(torch.arange(16).reshape(1, 1, 4, 4) % 3 == 0, 1.0, -1.0).double()
    draws = torch.Generator().manual_seed(0)
    passes = 0

    def denoise(x: Tensor, t_B: Tensor) -> Estimate:
        nonlocal passes
        passes += 1
        x = _tensor(x, "advance(...)", tuple(mask.shape))
        alpha, sigma = (v[:, None, None, None] for v in alpha_sigma(schedule.log_snr(t_B)))
        evidence = alpha / sigma**2 * x + 10 * mask  # so sure that no sample differs by chance
        return Estimate(torch.tanh(evidence), torch.full_like(x, 0.5))

    def noise() -> Tensor:
        return torch.randn(mask.shape, generator=draws, dtype=torch.float64)

    times = sampler.grid(schedule, 1.0, 0.0)
    _rule(
        times.ndim == 1 and bool((times.diff() < 0).all()),
        "grid(schedule, t_high, t_low) must return falling times, [steps]",
    )
    sample = sampler.sample(denoise, noise(), noise, schedule, times)
    sample = _tensor(sample, "advance(...)", tuple(mask.shape))
    _rule(
        passes == sampler.passes, f"it makes {passes} passes but declares passes={sampler.passes}"
    )
    wrong = int((sample.sign() != mask).sum())
    _rule(
        wrong == 0,
        f"given a denoiser that knows the mask, a sample must be the mask; {wrong} of"
        f" {mask.numel()} pixels are not",
    )


def _metric(metric: Metric) -> None:
    """One number per case, computed from the columns of its table."""
    kind = cast("Any", type(metric))
    table, better = getattr(kind, "table", None), getattr(kind, "better", None)
    _rule(table in TABLES, f"table={table!r} must be one of {', '.join(TABLES)}")
    _rule(better in ("higher", "lower"), f"better={better!r} must be 'higher' or 'lower'")
    pooled = getattr(kind, "pooled", None)
    _rule(isinstance(pooled, bool), f"pooled={pooled!r} must be True or False")
    values = cast("Any", metric.value(_sums(str(table), metric.resolution)))
    _rule(
        isinstance(values, np.ndarray),
        f"value(sums) must return an array of one number per case, not {type(values).__name__}",
    )
    found = cast("np.ndarray[Any, Any]", values)
    _rule(
        found.shape == (CASES,) and found.dtype.kind in "fiu",
        f"value(sums) must return one number per case, not {found.dtype} of shape {found.shape}",
    )


def _sums(table: str, resolution: int | None) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Small sums of a table for a few cases; the last one is empty."""
    shape = (CASES, resolution or STORED_BINS[table]) if table in STORED_BINS else (CASES,)
    draws = np.random.default_rng(0)
    sums = {
        field.name: draws.integers(1, 50, shape).astype(np.float64)
        for field in cast("Iterable[pa.Field[Any]]", SCHEMAS[table])
        if field.name != "bin" and str(field.type) in ("int64", "double")
    }
    for values in sums.values():
        values[-1] = 0
    return sums


def _loss(loss: Loss) -> None:
    """A finite value per case with a finite gradient, also where a case has one class only."""
    for classes in (2, 3):
        labels = (torch.arange(128).reshape(2, 8, 8) // 5 % classes).byte()
        labels[1] = 0
        truth = masks.to_channels(labels, classes)
        draws = torch.Generator().manual_seed(0)
        logits = torch.randn(truth.shape, generator=draws).requires_grad_()
        p = masks.probabilities(logits)
        value = _tensor(loss.value(p, truth, labels), "value(p, mask, labels)", (2,))
        if value.requires_grad:
            value.sum().backward()  # pyright: ignore[reportUnknownMemberType]
            finite = logits.grad is not None and bool(logits.grad.isfinite().all())
            _rule(finite, "the gradient of value(p, mask, labels) must be finite")


RULES: Mapping[str, Callable[[Any], None]] = {
    "datasets": _dataset,
    "models": _model,
    "modes": _mode,
    "schedules": _schedule,
    "encodings": _encoding,
    "weights": _weight,
    "losses": _loss,
    "samplers": _sampler,
    "metrics": _metric,
}
"""The rules of each kind."""
