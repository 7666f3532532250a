"""Checkpoints of the published diffusion networks: their tensors under the names of this package.

The published programs save one flat mapping of names to tensors. Their names and layouts differ
from those of the networks here, which compute the same function.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor

from trainables.config import Config
from trainables.layers.unet import UNetModel
from trainables.models import Model, Network
from trainables.modes.diffusion import Diffusion
from trainables.part import require, unknown
from trainables.runtime.seeding import seed_torch
from trainables.trainer import TrainingRecord
from trainables.training.trained import (
    DataFacts,
    Trained,
    WeightsError,
    to_safetensors,
    versions_of,
)

NORMALISATION: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "ensemdiff": ((0.0,), (1.0,)),
    "medsegdiff_new": ((0.0,), (255.0,)),
    "medsegdiff_v1": ((0.0,), (255.0,)),
    "segdiff": ((142.07, 98.48, 132.96), (65.78, 57.05, 57.78)),
}
"""Mean and standard deviation of the stored values with which each published program normalises
images, per channel or for all: as stored; divided by 255; those of MoNuSeg."""
GROUPS = 32
"""The published networks normalise in so many groups at any width."""
DRAWN = re.compile(r"projection\.(weight|bias)")
"""Tensors of MedSegDiff v1 that its checkpoints lack: the original draws them at every pass."""

Replacement = str | Callable[[re.Match[str]], str]
RULES: tuple[tuple[str, Replacement], ...] = (
    # U-Net
    (r"^unet\.time\.", "time_embed."),
    (r"^unet\.stem\.", "input_blocks.0.0."),
    (r"^unet\.down\.(\d+)\.", lambda found: f"input_blocks.{int(found[1]) + 1}."),
    (r"^(input_blocks\.(?!0\.)\d+\.0)\.(weight|bias)$", r"\1.op.\2"),
    (r"^unet\.middle\.", "middle_block."),
    (r"^unet\.up\.", "output_blocks."),
    (r"^unet\.head\.", "out."),
    (r"(_blocks?\.[\d.]+)\.first\.", r"\1.in_layers."),
    (r"(_blocks?\.[\d.]+)\.time\.", r"\1.emb_layers."),
    (r"(_blocks?\.[\d.]+)\.second\.0\.", r"\1.out_layers.0."),
    (r"(_blocks?\.[\d.]+)\.second\.2\.", r"\1.out_layers.3."),
    (r"(_blocks?\.[\d.]+)\.shortcut\.", r"\1.skip_connection."),
    (r"(_blocks?\.[\d.]+)\.out\.", r"\1.proj_out."),
    # SegDiff's image encoder
    (r"^encoder\.first\.", "rrdb.conv_first."),
    (r"^encoder\.fine\.", "rrdb.HRconv."),
    (r"^encoder\.last\.", "rrdb.conv_last."),
    (
        r"^encoder\.trunk\.(\d+)\.blocks\.(\d+)\.convs\.(\d+)\.",
        lambda found: f"rrdb.RRDB_trunk.{found[1]}.RDB{int(found[2]) + 1}.conv{int(found[3]) + 1}.",
    ),
    (r"^encoder\.trunk\.\d+\.(weight|bias)$", r"rrdb.trunk_conv.\1"),
    # MedSegDiff's highway
    (r"^highway\.encoder\.(\d+)\.(\d+)\.", r"hwm.conv_blocks_context.\1.blocks.\2."),
    (r"^highway\.decoder\.(\d+)\.(\d+)\.", r"hwm.conv_blocks_localization.\1.\2.blocks.0."),
    (r"^highway\.bottom\.(\d+)\.", r"hwm.conv_blocks_context.{deepest}.\1.blocks.0."),
    (r"^(hwm\..*)\.norm\.", r"\1.instnorm."),
    (r"^highway\.head\.", "hwm.seg_outputs.0."),
    (r"^gates\.(\d+)\.squeeze\.", r"hwm.conv_trans_blocks_a.\1."),
    (r"^gates\.(\d+)\.spatial\.", r"hwm.conv_trans_blocks_b.\1."),
    (r"^gates\.(\d+)\.filter$", r"hwm.ffparser.\1.complex_weight"),
)
"""Patterns of this package's names and what stands in their place, applied one after the other."""


def published_name(name: str, model: UNetModel) -> str:
    """Return the published name of a tensor.

    >>> from trainables.models.ensemdiff import EnsemDiff
    >>> published_name("unet.down.0.0.first.2.weight", EnsemDiff())
    'input_blocks.1.0.in_layers.2.weight'
    """
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name.replace("{deepest}", str(len(model.multipliers) - 1))


def check_model(model: Model) -> UNetModel:
    """Return a model whose published checkpoints have its tensors.

    Raises:
        ValueError: it is not one of the published networks, or normalises in other groups.
    """
    if model.name not in NORMALISATION or not isinstance(model, UNetModel):
        raise unknown("published network", model.name, NORMALISATION)
    require(
        model.channels % (4 * GROUPS) == 0,
        f"model.{model.name}.channels={model.channels} must be a multiple of {4 * GROUPS}: the"
        f" published network normalises in {GROUPS} groups at every width",
    )
    return model


@dataclass(frozen=True)
class Imported:
    """The weights of a published checkpoint, and where they come from."""

    trained: Trained
    source: str
    """The hash of the checkpoint's file."""
    drawn: tuple[str, ...]
    """Tensors that the checkpoint lacks, drawn with the config's seed."""


def imported(
    file: Path, config: Config, mean: Sequence[float] = (), std: Sequence[float] = ()
) -> Imported:
    """Read a published checkpoint as the weights of a config's network.

    ``mean`` and ``std`` normalise the stored values of images, per channel or for all; by default
    as the published program does. The weights have a training of their own, named by the hash of
    the file, since no training of this package has made them.

    Raises:
        ValueError: the config has no published network, or a file cannot be read as its weights.
    """
    model = check_model(config.model)
    target = config.mode.target if isinstance(config.mode, Diffusion) else None
    require(
        target == "eps",
        f"mode.{config.mode.name}{f'.target={target!r}' if target else ''} must be diffusion with"
        " target='eps': the published networks predict the noise of a mask",
    )
    facts = _facts(config, mean, std)
    tensors = read_tensors(file)
    with torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
        seed_torch(config.seed)
        network = model.build(config.ports)
    try:
        drawn = load_published(tensors, network, model)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from None
    source = hashlib.sha256(file.read_bytes()).hexdigest()
    content = to_safetensors(network)
    trained = Trained(
        f"imported-{source[:16]}",
        config.plain(),
        versions_of(config),
        facts,
        dataclasses.asdict(TrainingRecord()),
        hashlib.sha256(content).hexdigest(),
        content,
    )
    return Imported(trained, source, tuple(drawn))


def _facts(config: Config, mean: Sequence[float], std: Sequence[float]) -> DataFacts:
    """Return what predictions need to know of the images; their stored type is not known."""
    task, (usual_mean, usual_std) = config.task, NORMALISATION[config.model.name]
    return DataFacts(
        task=task.title,
        classes=list(task.classes),
        channels=task.channels,
        types=["float32", "int16", "uint16", "uint8"],
        mean=_per_channel("mean", mean or usual_mean, task.channels),
        std=_per_channel("std", std or usual_std, task.channels),
        content_hash="",
    )


def _per_channel(name: str, values: Sequence[float], channels: int) -> list[float]:
    require(
        len(values) in (1, channels),
        f"--{name} {','.join(f'{v:g}' for v in values)} must be one number or {channels}, one per"
        " channel of the task",
    )
    least = 0.0 if name == "std" else -math.inf
    require(
        all(math.isfinite(v) and v > least for v in values),
        f"--{name} {','.join(f'{v:g}' for v in values)} must be"
        f" {'positive' if name == 'std' else 'finite'}",
    )
    return [float(value) for value in values] * (channels if len(values) == 1 else 1)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint of torch or in the format safetensors; no code is run.

    Raises:
        WeightsError: the file is damaged, or holds anything but named tensors.
    """
    try:
        if file.suffix == ".safetensors":
            content: Any = safetensors.torch.load(file.read_bytes())
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise WeightsError(
            f"{file}: is damaged, or holds more than tensors, which is not read"
            f" ({type(error).__name__})"
        ) from None
    if not isinstance(content, Mapping):
        raise WeightsError(f"{file}: must hold tensors by name, found {type(content).__name__}")
    named = cast("Mapping[Any, Any]", content)
    for name, value in named.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{file}: {name!r} must be a tensor, found {type(value).__name__}: the file is no"
                " mapping of names to tensors"
            )
    return {str(name).removeprefix("module."): value for name, value in named.items()}


def load_published(tensors: Mapping[str, Tensor], network: Network, model: UNetModel) -> list[str]:
    """Copy the tensors of a published checkpoint into a network.

    Returns the names of the network's tensors that checkpoints never hold; they stay as they are.

    Raises:
        WeightsError: a tensor is absent, left over, of another shape or not finite; names it.
    """
    left = dict(tensors)
    drawn: list[str] = []
    for name, own in network.state_dict().items():
        theirs = published_name(name, model)
        if theirs not in left:
            if DRAWN.fullmatch(name):
                drawn.append(name)
                continue
            raise WeightsError(f"the checkpoint lacks {theirs!r}, which is {name!r} here")
        value = _rearranged(theirs, left.pop(theirs), model)
        if value.shape != own.shape:
            raise WeightsError(
                f"{theirs!r} has the shape {list(value.shape)}, must be {list(own.shape)}:"
                " the config describes another network"
            )
        if not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{theirs!r} has NaN or inf values")
        own.copy_(value)
    if left:
        raise WeightsError(
            f"the checkpoint has {len(left)} tensors that the network lacks, the first is"
            f" {next(iter(left))!r}: the config describes another network"
        )
    return drawn


def _rearranged(name: str, value: Tensor, model: UNetModel) -> Tensor:
    """Return a tensor in the layout of this package.

    Attention is a convolution over pixels in two dimensions here, in one there. Its rows are
    ordered by query, key and value, then by head, here; first by head there. A complex filter has
    its real and imaginary parts in the first dimension here, in the last there.
    """
    if ".qkv." in name and value.shape[0] % (3 * model.heads) == 0:
        by_head = value.reshape(model.heads, 3, -1, *value.shape[1:])
        value = by_head.transpose(0, 1).reshape(value.shape)
    if re.search(r"\.(qkv|proj_out)\.weight$", name) and value.ndim == 3:
        value = value.unsqueeze(-1)
    return value.movedim(-1, 0) if name.endswith(".complex_weight") else value
