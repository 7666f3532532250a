"""Volumes: image, channels and mask lie on one grid, or are refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from orchestrator.diagnostics.dataset_check import walk
from tests.broken import Array
from tests.trees import put, volume
from trainables.datasets import Problem, Raster, Source
from trainables.datasets.nifti import NIfTI
from trainables.part import Location

SHAPE = (20, 24, 3)
MASK = np.zeros(SHAPE, np.uint8)
MASK[3:15, 4:6, 1] = 1
MASK[3:5, 4:14, 1] = 1
VALUES = (MASK * 100 + np.arange(24, dtype=np.int16)[None, :, None]).astype(np.int16)


def diagonal(*sides: float, origin: tuple[float, ...] = (0, 0, 0)) -> Array:
    affine = np.diag([*sides, 1.0])
    affine[:3, 3] = origin
    return affine


def case(root: Path, mask: bytes, name: str = "a", **images: bytes) -> None:
    put(root / "labelsTr" / f"{name}.nii.gz", mask)
    for channel, data in images.items():
        put(root / "imagesTr" / f"{name}_{channel.removeprefix('c')}.nii.gz", data)


def read(root: Path, **fields: Any) -> list[Raster]:
    items = list(NIfTI(at=Location(str(root)), **fields).scan())
    assert not [i for i in items if isinstance(i, Problem)]
    return [i.read() for i in items if isinstance(i, Source)]


def aligned(raster: Raster) -> bool:
    """Whether the bright voxels are the mask's."""
    return bool(((raster.pixels[0] >= 100) == (raster.labels > 0)).all())


def rules(root: Path, **fields: Any) -> str:
    found = walk(NIfTI(at=Location(str(root)), **fields))
    return "\n".join(p.rule for p in found.problems if p.fatal)


def test_a_mask_without_the_images_orientation_is_refused_with_both_affines(tmp_path: Path) -> None:
    case(tmp_path, volume(MASK), c0000=volume(VALUES, diagonal(-1, -1, 1)))
    text = rules(tmp_path)
    assert "has the affine [-1 0 0 0; 0 -1 0 0; 0 0 1 0]" in text
    assert "labelsTr/a.nii.gz has [1 0 0 0; 0 1 0 0; 0 0 1 0]: they do not lie on one grid" in text


def test_a_mask_that_is_stored_in_another_order_of_axes_is_turned_to_the_image(
    tmp_path: Path,
) -> None:
    mirrored = diagonal(-1, -1, 1, origin=(19, 23, 0))
    swapped = np.eye(4)[[1, 0, 2, 3]]
    case(tmp_path, volume(MASK), c0000=volume(VALUES[::-1, ::-1], mirrored))
    case(tmp_path, volume(MASK.swapaxes(0, 1), swapped), "b", c0000=volume(VALUES))
    rasters = read(tmp_path)
    assert len(rasters) == 6
    assert all(map(aligned, rasters))
    assert not [note for r in rasters for note in r.notes]


def test_a_mask_whose_origin_alone_differs_is_read_voxel_by_voxel_with_a_warning(
    tmp_path: Path,
) -> None:
    image = volume(VALUES, diagonal(-1, -1, 1, origin=(5, 6, 7)))
    case(tmp_path, volume(MASK, diagonal(-1, -1, 1)), c0000=image)
    rasters = read(tmp_path)
    assert all(map(aligned, rasters))
    assert "has an origin (5, 6, 7) mm apart from that of its mask" in rasters[0].notes[0]


def test_a_small_rounding_of_an_affine_is_none(tmp_path: Path) -> None:
    off = diagonal(0.7, 0.7, 3) + 1e-4
    case(tmp_path, volume(MASK, diagonal(0.7, 0.7, 3)), c0000=volume(VALUES, off))
    assert not read(tmp_path)[0].notes


def test_channels_of_a_case_lie_on_one_grid(tmp_path: Path) -> None:
    moved = volume(VALUES, diagonal(1, -1, 1))
    case(tmp_path, volume(MASK), c0000=volume(VALUES), c0001=moved)
    assert "its channel imagesTr/a_0001.nii.gz has" in rules(tmp_path, modalities=2)


def test_channel_numbers_are_identities(tmp_path: Path) -> None:
    image = volume(VALUES)
    for name in ("a", "b", "c"):
        case(tmp_path, volume(MASK), name, c0000=image, c0001=image)
    case(tmp_path, volume(MASK), "d", c0000=image, c0002=image)
    found = walk(NIfTI(at=Location(str(tmp_path)), modalities=2))
    odd = [p for p in found.problems if "imagesTr/d" in p.file]
    assert [p.rule for p in odd] == ["has the channels 0000, 0002; other cases have 0000, 0001"]
    assert odd[0].fatal


def test_voxels_of_rgb_are_refused_in_one_line(tmp_path: Path) -> None:
    rgb = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    case(tmp_path, volume(MASK), c0000=volume(rgb))
    for empty in (True, False):
        assert "has voxels of type RGB, must be numbers" in rules(tmp_path, empty=empty)


@pytest.mark.parametrize("cls", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 1)])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("white", [1, 255])
def test_masks_of_every_nifti_are_read(
    tmp_path: Path, cls: Any, shape: tuple[int, ...], kind: type, white: int
) -> None:
    mask = cls((MASK.astype(np.int16) * white).astype(kind).reshape(shape), np.eye(4))
    case(tmp_path, gzip.compress(mask.to_bytes()), c0000=volume(VALUES))
    assert all(map(aligned, read(tmp_path)))


def test_a_scaled_mask_is_rounded_to_its_labels(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(MASK.astype(np.float32) * np.float32(0.9999999), np.eye(4))
    case(tmp_path, gzip.compress(image.to_bytes()), c0000=volume(VALUES))
    assert all(map(aligned, read(tmp_path)))


def test_two_forms_of_a_header_that_differ_are_a_warning(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, np.eye(4))
    image.set_qform(diagonal(-1, 1, 1), code=1)
    image.set_sform(np.eye(4), code=1)
    case(tmp_path, volume(MASK), c0000=gzip.compress(image.to_bytes()))
    assert "has a qform and a sform that differ" in read(tmp_path)[0].notes[0]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("side", ["image", "mask", "both"])
def test_volumes_of_itk_are_read_on_one_grid_with_nifti(
    tmp_path: Path, suffix: str, side: str
) -> None:
    sitk: Any = pytest.importorskip("SimpleITK")
    affine = diagonal(-0.5, -0.5, 2, origin=(10, 12, -3))  # x to the left, as ITK counts

    def itk(values: Array) -> bytes:
        image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
        image.SetSpacing((0.5, 0.5, 2))
        image.SetOrigin((-10, -12, -3))
        sitk.WriteImage(image, str(tmp_path / f"written{suffix}"), True)
        return (tmp_path / f"written{suffix}").read_bytes()

    for name, values, folder in (("image", VALUES, "imagesTr"), ("mask", MASK, "labelsTr")):
        as_itk = side in (name, "both")
        data = itk(values) if as_itk else volume(values, affine)
        put(tmp_path / "set" / folder / f"a{suffix if as_itk else '.nii.gz'}", data)
    (tmp_path / f"written{suffix}").unlink()
    rasters = read(tmp_path / "set")
    assert len(rasters) == 3
    assert all(map(aligned, rasters))
    assert not rasters[0].notes
    canonical = np.rot90(MASK[::-1, ::-1, 1])
    np.testing.assert_array_equal(rasters[1].labels, canonical)


def test_a_volume_of_itk_whose_voxels_lie_in_another_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    header = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n"
    put(tmp_path / "imagesTr" / "a.nrrd", header + b"data file: /etc/hostname\n\n")
    case(tmp_path, volume(MASK))
    assert "has its voxels in another file" in rules(tmp_path)
    put(tmp_path / "imagesTr" / "a.nrrd", header + b"\n" + bytes(10))
    assert "cannot be read" in rules(tmp_path)
