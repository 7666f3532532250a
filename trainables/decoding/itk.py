"""NRRD and MHA volumes, read by SimpleITK: an optional package, ``pip install 'segprint[itk]'``."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.decoding.tree import MAX_FILE, File, in_a_line

SUFFIXES = (".nrrd", ".mha")
READERS = {".nrrd": "NrrdImageIO", ".mha": "MetaImageIO"}
"""The one reader of SimpleITK that is tried: the others would accept any format."""
HEADER = 2**16
"""Bytes in which a header ends."""

Affine = NDArray[np.float64]


def read_itk(file: File) -> tuple[NDArray[Any], Affine]:
    """The voxels, [X, Y, Z] or [X, Y, Z, C], and the affine to millimetres (x right, y front).

    Raises:
        ValueError: SimpleITK is not installed, the file is damaged, or its voxels lie elsewhere.
    """
    with _opened(file) as (package, reader):
        affine = _affine(reader)
        image: Any = reader.Execute()
        values = np.asarray(package.GetArrayFromImage(image))
    components = image.GetNumberOfComponentsPerPixel()
    axes = list(range(values.ndim - (components > 1)))[::-1]  # z, y, x are stored
    return values.transpose(*axes, *([values.ndim - 1] if components > 1 else [])), affine


def read_itk_header(file: File) -> tuple[Sequence[int], Affine]:
    """The size along x, y, z, and the affine.

    Raises:
        ValueError: as :func:`read_itk`.
    """
    with _opened(file) as (_, reader):
        return tuple(int(n) for n in reader.GetSize()), _affine(reader)


@contextlib.contextmanager
def _opened(file: File) -> Generator[tuple[Any, Any]]:
    """SimpleITK, and its reader with the header read."""
    try:
        import SimpleITK
    except ImportError:
        rule = f"is {file.suffix}, which SimpleITK reads: pip install 'segprint[itk]'"
        raise ValueError(rule) from None
    package: Any = SimpleITK
    data = file.read()
    _whole(data[:HEADER], file.suffix)
    with tempfile.NamedTemporaryFile(suffix=file.suffix) as copy:
        copy.write(data)
        copy.flush()
        reader = package.ImageFileReader()
        reader.SetFileName(copy.name)
        reader.SetImageIO(READERS[file.suffix])
        try:
            reader.ReadImageInformation()
            size = int(np.prod(reader.GetSize(), dtype=np.int64)) * reader.GetNumberOfComponents()
            if size > MAX_FILE:
                raise ValueError(f"has {size} voxels, more than {MAX_FILE}")
            yield package, reader
        except RuntimeError as error:
            text = in_a_line(error).replace(copy.name, file.path)
            raise ValueError(f"cannot be read: {text}") from error


def _whole(header: bytes, suffix: str) -> None:
    """Refuse headers whose voxels lie in another file, which may be any file of this machine."""
    lower = header.lower()
    if suffix == ".nrrd":
        lines = lower.partition(b"\n\n")[0].replace(b"\r", b"").split(b"\n")
        elsewhere = any(line.startswith((b"data file:", b"datafile:")) for line in lines)
    else:
        elsewhere = b"local" not in lower.partition(b"elementdatafile")[2].split(b"\n")[0]
    if elsewhere:
        raise ValueError("has its voxels in another file, must hold them itself")


def _affine(reader: Any) -> Affine:
    """From voxel indices to millimetres; ITK counts x to the left and y to the back."""
    dimensions = reader.GetDimension()
    if dimensions < 3:
        raise ValueError(f"has {dimensions} dimensions, must have 3, or 4 with channels")
    direction = np.array(reader.GetDirection()).reshape(dimensions, dimensions)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(reader.GetSpacing()[:3])
    affine[:3, 3] = reader.GetOrigin()[:3]
    return np.diag([-1.0, -1, 1, 1]) @ affine
