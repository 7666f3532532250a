"""Volumes to voxels in canonical orientation, and whether two of them lie on one grid."""

from __future__ import annotations

import gzip
import io
import itertools
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from trainables.decoding import itk
from trainables.decoding.tree import MAX_FILE, File, in_a_line

NIFTI = (".nii", ".nii.gz")
SUFFIXES = (*NIFTI, *itk.SUFFIXES)
BROKEN = (ImageFileError, HeaderDataError, WrapStructError, EOFError, zlib.error, OSError)
MAX_HEADER = 2**24
"""Bytes before the voxels, extensions included."""
HEADER_BYTES = 540
"""The size of a NIfTI-2 header; that of NIfTI-1 has 348 bytes."""
AXES = "xyz"
DRIFT = 0.25
"""Largest distance of corresponding corners of two volumes on one grid, in voxels."""

Affine = NDArray[np.float64]
"""[4, 4], from voxel indices to millimetres."""


@dataclass(frozen=True)
class Voxels:
    """A volume in canonical orientation."""

    path: str
    values: NDArray[Any]
    """[X, Y, Z] or [X, Y, Z, C], in their stored type where that is exact."""
    affine: Affine
    """The affine of ``values``."""
    stored: Affine
    """The affine in the file."""
    notes: tuple[str, ...] = ()
    unit: float = 1.0
    """The millimetres of the affine's unit of length."""


def read_voxels(file: File) -> Voxels:
    """A volume, turned so that x runs to the right, y to the front and z to the head.

    Raises:
        ValueError: the file is damaged, has no voxels of numbers, or no orientation.
    """
    values, affine, stored, notes, unit = (
        _of_itk(file) if file.suffix in itk.SUFFIXES else _of_nifti(file)
    )
    if values.ndim > 3:  # a dimension of time or of channels, of which one is no dimension
        kept = [n for n in values.shape[3:] if n > 1]
        values = values.reshape(*values.shape[:3], *kept)
    if values.ndim not in (3, 4):
        raise ValueError(f"has {values.ndim} dimensions, must have 3, or 4 with channels")
    values = values.astype(np.float32) if values.dtype == np.float64 else values
    return Voxels(file.path, values, affine, stored, notes, unit)


_Turned = tuple[NDArray[Any], Affine, Affine, tuple[str, ...], float]
"""Values, their affine, the affine as stored, notes, and the millimetres of the affine's unit."""
UNITS = {1: 1000.0, 2: 1.0, 3: 0.001}
"""The millimetres of the units of length of NIfTI by their code: metres, millimetres, microns."""


def _of_itk(file: File) -> _Turned:
    values, stored = itk.read_itk(file)
    if not np.isfinite(stored).all() or values.dtype.kind not in "biuf":
        raise ValueError(f"has voxels of type {values.dtype}, or an affine that is not finite")
    orientations: Any = nibabel.orientations
    turn = orientations.io_orientation(stored)
    turned = orientations.apply_orientation(values, turn)
    affine = stored @ orientations.inv_ornt_aff(turn, values.shape[:3])
    return np.asarray(turned), np.asarray(affine, np.float64), stored, (), 1.0


def _of_nifti(file: File) -> _Turned:
    header = read_header(file)
    size = math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize
    if size > MAX_FILE:
        raise ValueError(f"unpacks to {size} bytes, more than {MAX_FILE}")
    if header.get_data_dtype().kind not in "biuf":
        raise ValueError(f"has voxels of type {_named(header)}, must be numbers")
    data = _bytes(file, size + MAX_HEADER)
    try:
        image: Any = _kind(data, nibabel.Nifti1Image, nibabel.Nifti2Image).from_bytes(data)
        stored = np.asarray(image.affine, np.float64)
        if not np.isfinite(stored).all():
            raise ValueError("its affine has a NaN or inf")
        library: Any = nibabel
        turned = library.as_closest_canonical(image)
        values: NDArray[Any] = np.asarray(turned.dataobj)
    except (*BROKEN, ValueError) as error:
        raise ValueError(f"is no NIfTI that can be read: {in_a_line(error)}") from error
    affine = np.asarray(turned.affine, np.float64)
    unit = UNITS.get(int(image.header["xyzt_units"]) & 7, 1.0)  # without a unit: millimetres
    return values, affine, stored, _two_forms(image, values.shape), unit


def _named(header: Any) -> str:
    """The voxels' type in a word: RGB is a structure of three numbers."""
    names = header.get_data_dtype().names
    return "".join(names) if names else str(header.get_data_dtype())


def _two_forms(image: Any, shape: Sequence[int]) -> tuple[str, ...]:
    """Return a note if the two affines of a header differ."""
    sform, with_sform = image.get_sform(coded=True)
    qform, with_qform = image.get_qform(coded=True)
    if not with_sform or not with_qform or _drift(sform, qform, shape) <= DRIFT:
        return ()
    return ("has a qform and a sform that differ: the sform is used",)


def read_header(file: File) -> Any:
    """The header alone.

    Raises:
        ValueError: the file is damaged.
    """
    data = _bytes(file, HEADER_BYTES)
    try:
        header: Any = _kind(data, nibabel.Nifti1Header, nibabel.Nifti2Header)
        return header.from_fileobj(io.BytesIO(data))
    except (*BROKEN, ValueError) as error:
        raise ValueError(f"is no NIfTI that can be read: {in_a_line(error)}") from error


def _kind(data: bytes, first: Any, second: Any) -> Any:
    """The class for NIfTI-1, or that for NIfTI-2 where the header has its length."""
    lengths = (struct.pack(order + "i", HEADER_BYTES) for order in "<>")
    return second if data[:4] in lengths else first


def _bytes(file: File, most: int) -> bytes:
    """The file's first bytes, unpacked."""
    data = file.read()
    try:
        if file.suffix == ".nii.gz":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(most + 1)
    except BROKEN as error:
        raise ValueError(f"is no gzip file that can be read: {in_a_line(error)}") from error
    return data


def length(file: File, axis: int) -> int:
    """Voxels along a canonical axis, from the header.

    Raises:
        ValueError: the file is damaged, or its affine is singular.
    """
    if file.suffix in itk.SUFFIXES:
        shape, affine = itk.read_itk_header(file)
    else:
        header = read_header(file)
        shape, affine = header.get_data_shape(), header.get_best_affine()
    if len(shape) < 3:
        raise ValueError(f"has {len(shape)} dimensions, must have 3, or 4 with channels")
    if not np.isfinite(affine).all():
        raise ValueError("cannot be read: its affine has a NaN or inf")
    orientations: Any = nibabel.orientations
    turned = orientations.io_orientation(affine)
    along = np.flatnonzero(turned[:, 0] == axis)
    if len(along) != 1:
        raise ValueError(f"has an affine that leaves axis {AXES[axis]} without a direction")
    return int(shape[int(along[0])])


def sides(voxels: Voxels) -> tuple[float, ...]:
    """Return the millimetres of a voxel along each canonical axis."""
    lengths = np.linalg.norm(voxels.affine[:3, :3], axis=0) * voxels.unit
    return tuple(float(n) for n in lengths)


def on_one_grid(first: Voxels, other: Voxels, what: str) -> tuple[str, ...]:
    """Whether voxels of equal index lie at one place; says so where only the origins differ.

    Raises:
        ValueError: the shapes differ, or the affines do in more than the origin.
    """
    shape = first.values.shape[:3]
    if other.values.shape[:3] != shape:
        raise ValueError(
            f"is {first.values.shape} voxels but {what} {other.path} is {other.values.shape}"
        )
    if _drift(first.affine, other.affine, shape) <= DRIFT:
        return ()
    shift = first.stored[:3, 3] - other.stored[:3, 3]
    moved = other.stored.copy()
    moved[:3, 3] = first.stored[:3, 3]
    if _drift(first.stored, moved, shape) <= DRIFT:
        by = ", ".join(f"{d:g}" for d in np.round(shift, 3))
        return (f"has an origin ({by}) mm apart from that of {what} {other.path}: read as one",)
    raise ValueError(
        f"has the affine {_written(first.stored)} but {what} {other.path} has"
        f" {_written(other.stored)}: they do not lie on one grid"
    )


def _drift(first: Affine, other: Affine, shape: Sequence[int]) -> float:
    """The largest distance of a corner in two volumes, in voxels of the smaller side."""
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in shape[:3]))])
    distance = np.linalg.norm((corners @ (first - other).T)[:, :3], axis=1).max()
    side = min(np.linalg.norm(a[:3, :3], axis=0).min() for a in (first, other))
    return float(distance / max(side, 1e-12))


def _written(affine: Affine) -> str:
    """The first three rows on one line."""
    rows = (" ".join(f"{v:g}" for v in row) for row in np.round(affine[:3], 4))
    return "[" + "; ".join(rows) + "]"
