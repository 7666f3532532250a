"""MedSegBench: 35 sets of CT, MR, X-ray, ultrasound, endoscopy and microscopy, as .npz files."""

from __future__ import annotations

import csv
import functools
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.datasets import SPLITS, DownloadProgress, Located, Problem, Raster, Source, Split
from trainables.decoding.download import Download
from trainables.decoding.images import compact
from trainables.decoding.labels import Legend, to_labels
from trainables.decoding.latest import Latest
from trainables.decoding.tree import BROKEN_ZIP, MAX_FILE, File, Tree, in_a_line
from trainables.part import Location, unknown

FOLDER = Location("medsegbench")
Arrays = dict[str, NDArray[Any]]


@functools.cache
def sets() -> dict[str, dict[str, str]]:
    """Channels, class names, address, checksums and licence of each set, by its flag."""
    text = Path(__file__).with_suffix(".csv").read_text(encoding="utf-8")
    return {row["flag"]: row for row in csv.DictReader(io.StringIO(text))}


@dataclass(frozen=True)
class MedSegBench(Located):
    """One of the sets, at one of three resolutions, with its official splits.

    Patients are not published, so every image stands for itself. In sets of two classes all that
    is not 0 is foreground. ``idrib`` has one mask per class; where they overlap the later class
    counts.
    """

    licence: ClassVar[str] = "each set its own, see medsegbench.csv"
    citation: ClassVar[str] = "Kuş & Aydin 2024, Scientific Data 11, 1283"

    at: Location = FOLDER
    flag: str = "busi"
    """The name of one of the 35 sets."""
    resolution: Literal[128, 256, 512] = 256
    """The side of its stored images, in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.flag not in sets():
            raise unknown("flag", self.flag, sets())

    @property
    def title(self) -> str:
        return f"medsegbench-{self.flag}"

    @property
    def terms(self) -> str:
        return f"{sets()[self.flag]['licence']}; {self.citation}"

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", *sets()[self.flag]["foreground"].split("|"))

    @property
    def channels(self) -> int:
        return int(sets()[self.flag]["channels"])

    @property
    def filename(self) -> str:
        """Name of the set's file."""
        return f"{self.flag}_{self.resolution}.npz"

    def get(self, progress: DownloadProgress) -> str:
        about = sets()[self.flag]
        md5 = about[f"md5_{self.resolution}"]
        url = f"https://zenodo.org/records/{about['record']}/files/{self.filename}?download=1"
        return self.fetched((Download(url, self.filename, f"md5:{md5}"),), progress)

    @classmethod
    def recognised(cls, files: Tree) -> list[dict[str, Any]]:
        names = (f.stem.rpartition("_") for f in files.files if f.suffix == ".npz")
        return [
            {"flag": flag, "resolution": int(resolution)}
            for flag, _, resolution in names
            if flag in sets() and resolution in ("128", "256", "512")
        ]

    def scan(self) -> Iterator[Source | Problem]:
        file = next((f for f in self.tree().files if f.name.name == self.filename), None)
        if file is None:
            yield Problem(self.filename, f"is not in {self.where}")
            return
        try:
            archive = Archive(file)
            counts = {split: archive.count(f"{split}_images") for split in SPLITS}
        except (ValueError, OSError, *BROKEN_ZIP) as error:
            yield Problem(file.path, f"is no .npz archive of this set: {in_a_line(error)}")
            return
        for split in SPLITS:
            for i in range(counts[split]):
                read = functools.partial(self._raster, archive, split, i)
                name = f"{split}-{i:05d}"
                yield Source(name, name, split, read, f"{file.path}: {name}")

    def stamp(self) -> str:
        files = (f for f in self.tree().files if f.name.name == self.filename)
        return "|".join(f"{f.path} {f.size} {f.stamp}" for f in files)

    def _raster(self, archive: Archive, split: Split, i: int) -> Raster:
        arrays = archive.arrays(split)
        pixels = arrays["images"][i]
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if "label" in arrays:
            values = arrays["label"][i]
        else:
            values = np.zeros(pixels.shape[1:], np.uint8)
            for k in range(1, len(self.classes)):
                values[arrays[f"label_C{k}"][i] != 0] = k
        if len(self.classes) == 2:
            values = values != 0
        return Raster(compact(pixels), to_labels(values, Legend(self.classes)))


class Archive:
    """The arrays of an .npz file, of one split at a time; nothing in it is unpickled."""

    def __init__(self, file: File) -> None:
        self.file = file
        self._data = functools.cache(file.read)
        self.arrays: Latest[Split, Arrays] = Latest(self._arrays)

    def count(self, key: str) -> int:
        """The length of an array, from its header.

        Raises:
            ValueError: there is no such array.
        """
        with zipfile.ZipFile(io.BytesIO(self._data())) as archive:
            if f"{key}.npy" not in archive.namelist():
                raise ValueError(f"it has no array {key}")
            largest = max(member.file_size for member in archive.infolist())
            if largest > MAX_FILE:
                raise ValueError(f"an array unpacks to {largest} bytes, more than {MAX_FILE}")
            with archive.open(f"{key}.npy") as member:
                old = np.lib.format.read_magic(member) == (1, 0)
                header = np.lib.format.read_array_header_2_0
                shape, _, _ = (np.lib.format.read_array_header_1_0 if old else header)(member)
        if len(shape) not in (3, 4):
            raise ValueError(f"its array {key} has {len(shape)} dimensions, must have 3 or 4")
        return shape[0]

    def _arrays(self, split: Split) -> Arrays:
        """``images``, and ``label`` or ``label_C1``, ``label_C2``, ... of a split."""
        wanted = re.compile(rf"{split}_(images|label|label_C\d+)")
        try:
            with np.load(io.BytesIO(self._data()), allow_pickle=False) as found:
                names = [key for key in found.files if wanted.fullmatch(key)]
                if f"{split}_label" in names:
                    names = [f"{split}_images", f"{split}_label"]
                arrays = {key.removeprefix(f"{split}_"): found[key] for key in names}
        except BROKEN_ZIP as error:
            raise ValueError(f"is no .npz that can be read: {in_a_line(error)}") from error
        lengths = {k: len(a) for k, a in arrays.items()}
        if len(set(lengths.values())) != 1 or len(lengths) < 2:
            raise ValueError(f"{split} must have images and labels of one length, has {lengths}")
        return arrays
