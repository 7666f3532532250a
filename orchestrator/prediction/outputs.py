"""The files that a prediction writes: masks, probabilities, uncertainty, and a record of each."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
import PIL.Image
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from orchestrator.diagnostics.contact_sheet import BRIGHT, class_colours, outlined
from orchestrator.prediction.inputs import ImageFile
from orchestrator.storage.local_files import place, place_stream
from trainables.datasets import Raster
from trainables.decoding.volumes import NIFTI, Voxels
from trainables.training.trained_model import Segmentation

SUFFIXES = (".png", ".nii.gz")
"""Those of the files of an image and of a volume."""
SIXTEEN_BIT = 2**16 - 1
SHEET_COLUMNS = 4
SHEET_SIDE = 320
MOST_SHOWN = 24
"""Images on the contact sheet."""


@dataclass(frozen=True)
class Outputs:
    """The folder of one prediction."""

    folder: Path
    classes: Sequence[str]

    def path(self, kind: str, name: str, suffix: str) -> Path:
        """Return the path of a file, and create its folder."""
        path = self.folder / kind / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    # -- images -------------------------------------------------------------------------------

    def write_image(self, name: str, found: Segmentation) -> None:
        """Write an indexed mask, and 16-bit greys: 65535 is a probability or deviation of 1."""
        mask = PIL.Image.fromarray(found.labels)
        mask.putpalette(self._palette())
        _save_png(self.path("masks", name, ".png"), mask)
        for word, p_HW in zip(self._words, found.probabilities[1:], strict=True):
            self._grey("probabilities", f"{name}_{word}", p_HW)
        self._grey("uncertainty", name, found.uncertainty)

    def _grey(self, kind: str, name: str, values_HW: NDArray[np.float32]) -> None:
        grey = PIL.Image.fromarray((values_HW.clip(0, 1) * SIXTEEN_BIT).round().astype(np.uint16))
        _save_png(self.path(kind, name, ".png"), grey)

    @property
    def _words(self) -> list[str]:
        """The names of the foreground classes as parts of file names, no two of them equal."""
        words = ["".join(c if c.isalnum() else "-" for c in label) for label in self.classes[1:]]
        several = {word for word, count in Counter(map(str.lower, words)).items() if count > 1}
        return [
            f"{word}-{k}" if word.lower() in several else word
            for k, word in enumerate(words, start=1)
        ]

    def _palette(self) -> list[int]:
        """Return the colours of the classes: black for the background."""
        colours = [(0.0, 0.0, 0.0), *(to_rgb(BRIGHT[k % len(BRIGHT)]) for k in range(255))]
        return [round(255 * v) for colour in colours[:256] for v in colour]

    # -- volumes ------------------------------------------------------------------------------

    def write_volume(self, image: ImageFile, voxels: Voxels, found: Segmentation) -> None:
        """Write NIfTI volumes on the grid of a file, in its own orientation.

        The arrays of ``found`` are those of an image with one more dimension, [X, Y, Z].
        """
        places = [("masks", "", found.labels), ("uncertainty", "", found.uncertainty)]
        for word, p_XYZ in zip(self._words, found.probabilities[1:], strict=True):
            places.append(("probabilities", f"_{word}", p_XYZ))
        for folder, ending, values in places:
            written = _as_stored(image, voxels, values)
            path = self.path(folder, image.name, f"{ending}.nii.gz")
            place_stream(path, partial(_write_nifti, written), replace=True)

    # -- masks of earlier calls ---------------------------------------------------------------

    def image_mask(self, name: str) -> NDArray[np.uint8]:
        """Return the mask of an image, [H, W].

        Raises:
            OSError: there is none that can be read.
        """
        with PIL.Image.open(self.path("masks", name, ".png")) as mask:
            return np.asarray(mask)

    def volume_mask(self, name: str) -> ImageFile:
        """Return the file of the mask of a volume."""
        return ImageFile(self.path("masks", name, ".nii.gz"), name)

    # -- records ------------------------------------------------------------------------------

    def record(self, name: str) -> dict[str, Any] | None:
        """Return the record of an image that was predicted before.

        None if there is none, or if one of its files is absent: then it is predicted again.
        """
        by_class = [("probabilities", f"{name}_{word}") for word in self._words]
        stems = [("masks", name), ("uncertainty", name), *by_class]
        paths = [self.folder / kind / stem for kind, stem in stems]
        if not any(all(Path(f"{p}{end}").is_file() for p in paths) for end in SUFFIXES):
            return None
        try:
            content = json.loads(self._record(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None  # pyright: ignore

    def write_record(self, name: str, content: Mapping[str, Any]) -> None:
        """Write the record of an image, after its other files."""
        text = json.dumps(content, indent=1, sort_keys=True)
        place(self._record(name), text.encode(), replace=True)

    def _record(self, name: str) -> Path:
        return self.path("records", name, ".json")


def _save_png(path: Path, image: PIL.Image.Image) -> None:
    place_stream(path, lambda file: image.save(file, "PNG"), replace=True)


def _write_nifti(image: Any, file: BinaryIO) -> None:
    """Write a NIfTI image as the content of a ``.nii.gz`` file, without a name and a time."""
    with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream:
        image.to_stream(stream)


def _as_stored(image: ImageFile, voxels: Voxels, values_XYZ: NDArray[Any]) -> Any:
    """Return a NIfTI image of values in canonical orientation, turned as the file is stored."""
    orientations: Any = nibabel.orientations
    canonical = orientations.io_orientation(voxels.affine)
    stored = orientations.io_orientation(voxels.stored)
    turn = orientations.ornt_transform(canonical, stored)
    turned = np.ascontiguousarray(orientations.apply_orientation(values_XYZ, turn))
    library: Any = nibabel
    if image.file.suffix not in NIFTI:
        return library.Nifti1Image(turned, voxels.stored)
    source = library.load(str(image.path))
    header = library.Nifti1Header() if source.header.sizeof_hdr != 348 else source.header.copy()
    header.set_data_dtype(turned.dtype)
    header.set_slope_inter(1, 0)
    return library.Nifti1Image(turned, voxels.stored, header)


def sheet(file: Path, shown: Sequence[tuple[NDArray[Any], NDArray[np.uint8]]]) -> None:
    """Write a contact sheet: images with their masks filled and outlined.

    ``shown`` are pixels [C, H, W] and labels [H, W] of each.
    """
    if not shown:
        return
    tiles: list[PIL.Image.Image] = []
    for pixels, labels in shown[:MOST_SHOWN]:
        overlay = outlined(Raster(pixels, labels), class_colours(256))
        tile = PIL.Image.fromarray((overlay * 255).round().astype(np.uint8))
        tile.thumbnail((SHEET_SIDE, SHEET_SIDE))
        tiles.append(tile)
    columns = min(SHEET_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    page = PIL.Image.new("RGB", (columns * (SHEET_SIDE + 8), rows * (SHEET_SIDE + 8)), "white")
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        page.paste(tile, (column * (SHEET_SIDE + 8) + 4, row * (SHEET_SIDE + 8) + 4))
    _save_png(file, page)
