"""Checkpoints: state dicts and a JSON header in one file that holds no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, NotRequired, TypedDict

import torch


class Header(TypedDict):
    """The JSON of a checkpoint."""

    digest: str
    step: int
    tally: dict[str, Any]
    """The fields of :class:`trainables.trainer.TrainingRecord`."""
    nnunet: NotRequired[dict[str, Any]]
    """The state of nnU-Net's own trainer."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run at one moment; its tensors do not change while training goes on."""

    state_dicts: Mapping[str, Any]
    header: Header

    def write(self, file: BinaryIO) -> None:
        """Write it to a file, tensor by tensor, without a second copy in memory."""
        torch.save({**self.state_dicts, "about": json.dumps(self.header)}, file)

    @staticmethod
    def read(file: BinaryIO, device: Literal["cpu", "meta"] = "cpu") -> Checkpoint:
        """Read what :meth:`write` wrote; only tensors are unpickled.

        On ``meta`` the header alone is read: the tensors have shapes and no data.

        Raises:
            ValueError: the file is truncated or not a checkpoint.
        """
        try:
            state_dicts = torch.load(file, map_location=device, weights_only=True)
            return Checkpoint(state_dicts, json.loads(state_dicts.pop("about")))
        except Exception as error:
            size = file.seek(0, 2)
            raise ValueError(f"not a readable checkpoint ({size} bytes): {error}") from None

    def require_digest(self, digest: str) -> None:
        """Raise ``ValueError`` unless it is a checkpoint of this config."""
        if self.header["digest"] != digest:
            raise ValueError(f"checkpoint of {self.header['digest']} cannot resume {digest}")
