"""Checkpoints: state dicts and a JSON header in one file that holds no code."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import torch


class Header(TypedDict):
    """The JSON of a checkpoint."""

    digest: str
    step: int
    tally: dict[str, Any]
    """The fields of :class:`trainables.trainer.TrainingRecord`."""
    nnunet: NotRequired[dict[str, Any]]
    """The state of nnU-Net's own trainer."""


def write_checkpoint(state_dicts: Mapping[str, Any], header: Header) -> bytes:
    """Return a checkpoint with these state dicts and this header."""
    buffer = io.BytesIO()
    torch.save({**state_dicts, "about": json.dumps(header)}, buffer)
    return buffer.getvalue()


def read_checkpoint(checkpoint: bytes) -> tuple[dict[str, Any], Header]:
    """Return the state dicts and the header of a checkpoint; only tensors are unpickled.

    Raises:
        ValueError: the bytes are truncated or not a checkpoint.
    """
    try:
        state_dicts = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
        return state_dicts, json.loads(state_dicts["about"])
    except Exception as error:
        raise ValueError(f"not a readable checkpoint ({len(checkpoint)} bytes): {error}") from None


def read_checkpoint_of(digest: str, checkpoint: bytes) -> tuple[dict[str, Any], Header]:
    """Return the state dicts and the header of a checkpoint of one config.

    Raises:
        ValueError: the checkpoint belongs to another config or is not readable.
    """
    state_dicts, header = read_checkpoint(checkpoint)
    if header["digest"] != digest:
        raise ValueError(f"checkpoint of {header['digest']} cannot resume {digest}")
    return state_dicts, header
