"""A directory of a trial's own, and the library's surroundings while something is done in it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Generator
from pathlib import Path

import torch

SWITCHES = {"nnUNet_compile": "0", "nnUNet_wandb_enabled": "0"}


class Room:
    """Where one trial keeps nnU-Net's three trees and its log; gone when closed.

    The library looks its places up in the environment whenever it needs one, so they are set while
    it works and not a moment longer: trials on one machine, or taking turns in one process, do not
    see each other.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="segprint-nnunet-")
        self.at = Path(self._directory.name)
        self.raw, self.preprocessed, self.results = (
            self.at / name for name in ("raw", "preprocessed", "results")
        )
        for tree in (self.raw, self.preprocessed, self.results):
            tree.mkdir()

    @contextlib.contextmanager
    def inside(self, *, planning: bool = False) -> Generator[None]:
        """The library's surroundings; all as it was afterwards.

        Batches are made in this process, and not by others with seeds of their own; while it plans,
        the number of those is how many threads it takes.
        """
        threads = str(torch.get_num_threads())
        values = {
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(self.preprocessed),
            "nnUNet_results": str(self.results),
            "nnUNet_def_n_proc": threads,
            "nnUNet_n_proc_DA": threads if planning else "0",
        }
        benchmark = torch.backends.cudnn.benchmark  # its predictor turns it on
        with (
            _environment(),
            (self.at / "log").open("a", encoding="utf-8") as log,
            contextlib.redirect_stdout(log),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # of the library, about itself
            os.environ.update({**SWITCHES, **values})
            try:
                yield
            finally:
                torch.backends.cudnn.benchmark = benchmark

    def close(self) -> None:
        """Remove the directory."""
        self._directory.cleanup()


@contextlib.contextmanager
def _environment() -> Generator[None]:
    """Variables as they were afterwards, those too that an import sets."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
