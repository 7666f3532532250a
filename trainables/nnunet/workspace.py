"""The temporary directory of one nnU-Net trial, and the environment that the library needs."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Generator
from pathlib import Path

import torch

SWITCHES = {"nnUNet_compile": "0", "nnUNet_wandb_enabled": "0"}


class Workspace:
    """The directory of one trial, with nnU-Net's three trees and its log; removed by :meth:`close`.

    The library reads its directories from environment variables, so they are set only while it
    works: trials on one machine, or in turn in one process, do not see each other.
    """

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="segprint-nnunet-")
        self.directory = Path(self._temporary.name)
        self.raw, self.preprocessed, self.results = (
            self.directory / name for name in ("raw", "preprocessed", "results")
        )
        for tree in (self.raw, self.preprocessed, self.results):
            tree.mkdir()

    @contextlib.contextmanager
    def active(self, *, planning: bool = False) -> Generator[None]:
        """Set the library's environment variables and log; restore everything afterwards.

        Batches are made in this process, because worker processes would have seeds of their own.
        While the library plans, the number of worker processes is its number of threads.
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
            (self.directory / "log").open("a", encoding="utf-8") as log,
            contextlib.redirect_stdout(log),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # the library's warnings about itself
            os.environ.update({**SWITCHES, **values})
            try:
                yield
            finally:
                torch.backends.cudnn.benchmark = benchmark

    def close(self) -> None:
        """Remove the directory."""
        self._temporary.cleanup()


@contextlib.contextmanager
def _environment() -> Generator[None]:
    """Restore all environment variables afterwards, also those that an import sets."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
