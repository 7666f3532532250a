"""Writes data sets in their official structure, with small images whose masks are known.

Every writer fills a folder for the reader of its name, with as few cases as its rules allow. Sizes
vary as in the real data, divided by about ten.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import nibabel
import numpy as np
import PIL.Image
import tifffile

Array = np.ndarray[Any, Any]

TRAIN_TCGA = ("A7-A13E", "B0-5711", "G9-6336", "18-5592", "KB-A93J", "RD-A8N9")
TEST_TCGA = ("2Z-A9J9", "44-2665")


def blobs(height: int, width: int, count: int, seed: int, radius: float = 0.18) -> Array:
    """Instances 1..count: discs somewhere inside, later ones below earlier ones."""
    draws = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    found = np.zeros((height, width), np.int32)
    for k in range(1, count + 1):
        r, c = draws.uniform(0.2, 0.8, 2) * (height, width)
        disc = (rows - r) ** 2 + (columns - c) ** 2 <= (radius * min(height, width)) ** 2
        found[disc & (found == 0)] = k
    return found


def photo(labels: Array, seed: int) -> Array:
    """An RGB image [H, W, 3] of uint8 in which the labels can be seen."""
    draws = np.random.default_rng(seed + 1000)
    shades = np.array([[200, 160, 150], [110, 60, 90], [60, 110, 160], [90, 150, 60]])
    image = shades[labels % len(shades)] + draws.normal(0, 12, (*labels.shape, 3))
    return image.clip(0, 255).astype(np.uint8)


def png(values: Array, palette: bool = False) -> bytes:
    """A PNG; with a palette, indexed."""
    image = PIL.Image.fromarray(values)
    if palette:
        image = image.convert("P") if image.mode != "P" else image
        image.putdata(values.ravel().tolist())
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255] + [0] * 756)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def jpeg(values: Array, **options: Any) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(values).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def isic16(root: Path, train: int = 6, test: int = 3, *, zipped: bool = False) -> None:
    """The four official folders, or archives; 7-digit numbers, sizes that vary."""
    number = 0
    for part, count in (("Training", train), ("Test", test)):
        files: dict[str, dict[str, bytes]] = {"Data": {}, "GroundTruth": {}}
        for _ in range(count):
            height, width = ((72, 102), (54, 76), (96, 130))[number % 3]
            lesion = (blobs(height, width, 1, number) > 0).astype(np.uint8)
            files["Data"][f"ISIC_{number:07d}.jpg"] = jpeg(photo(lesion, number))
            files["GroundTruth"][f"ISIC_{number:07d}_Segmentation.png"] = png(lesion * 255)
            number += 1 + number % 2
        for what, named in files.items():
            folder = f"ISBI2016_ISIC_Part1_{part}_{what}"
            if zipped:
                root.mkdir(parents=True, exist_ok=True)
                with zipfile.ZipFile(root / f"{folder}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                    archive.writestr(f"{folder}/", b"")
                    archive.writestr(f"__MACOSX/{folder}/._{next(iter(named))}", b"\0\5\x16\7")
                    for name, data in named.items():
                        archive.writestr(f"{folder}/{name}", data)
            else:
                for name, data in named.items():
                    put(root / folder / name, data)


def outline(mask: Array) -> list[tuple[float, float]]:
    """A polygon (X, Y) around the pixels of a disc: their centre's circle."""
    rows, columns = np.nonzero(mask)
    centre, radius = (columns.mean() + 0.5, rows.mean() + 0.5), np.sqrt(mask.sum() / np.pi)
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return [(centre[0] + radius * np.cos(a), centre[1] + radius * np.sin(a)) for a in turns]


def aperio(polygons: list[list[tuple[float, float]]]) -> bytes:
    """An XML file as Aperio ImageScope writes it: headers before regions, CRLF, plots after."""
    headers = "".join(
        f'\t\t\t\t<AttributeHeader Id="{i}" Name="{name}" ColumnWidth="-1"/>\r\n'
        for i, name in ((9999, "Region"), (9997, "Length"), (9996, "Area"), (9998, "Text"))
    )
    regions = ""
    for i, polygon in enumerate(polygons, start=1):
        x, y = (np.array(side) for side in zip(*polygon, strict=True))
        area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
        vertices = "".join(
            f'\t\t\t\t\t\t<Vertex X={quoteattr(f"{a:.6f}")} Y={quoteattr(f"{b:.6f}")} Z="0"/>\r\n'
            for a, b in polygon
        )
        regions += (
            f'\t\t\t\t<Region Id="{i}" Type="0" Zoom="1" Selected="0" ImageLocation=""'
            f' ImageFocus="0" Length="0" Area="{area:.1f}" LengthMicrons="0" AreaMicrons="0"'
            f' Text="" NegativeROA="0" InputRegionId="0" Analyze="1" DisplayId="{i}">\r\n'
            "\t\t\t\t\t<Attributes/>\r\n\t\t\t\t\t<Vertices>\r\n"
            f"{vertices}\t\t\t\t\t</Vertices>\r\n\t\t\t\t</Region>\r\n"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\r\n<Annotations MicronsPerPixel="0.252000">\r\n'
        '\t<Annotation Id="1" Name="" ReadOnly="0" NameReadOnly="0" LineColorReadOnly="0"'
        ' Incremental="0" Type="4" LineColor="65280" Visible="1" Selected="1"'
        ' MarkupImagePath="" MacroName="">\r\n'
        '\t\t<Attributes>\r\n\t\t\t<Attribute Name="Description" Id="0" Value=""/>\r\n'
        "\t\t</Attributes>\r\n\t\t<Regions>\r\n"
        f"\t\t\t<RegionAttributeHeaders>\r\n{headers}\t\t\t</RegionAttributeHeaders>\r\n"
        f"{regions}\t\t</Regions>\r\n\t\t<Plots/>\r\n\t</Annotation>\r\n</Annotations>\r\n"
    ).encode()


def tif(values: Array) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, values, photometric="rgb" if values.ndim == 3 else "minisblack")
    return out.getvalue()


def nuclei_of(seed: int) -> list[list[tuple[float, float]]]:
    """Nuclei of an image of 100², two that overlap, one that goes beyond the border."""
    found = blobs(100, 100, 7, seed, radius=0.07)
    polygons = [outline(found == k) for k in np.unique(found) if k > 0]
    x, y = np.mean(polygons[0], 0)
    polygons.append([(x, y), (x + 9, y), (x + 9, y + 9), (x, y + 9)])
    return [*polygons, [(-4.5, 30.0), (6.0, 28.0), (7.5, 36.0), (-3.0, 41.0)]]


def monuseg(root: Path, *, zipped: bool = True) -> None:
    """``MoNuSeg 2018 Training Data.zip`` in two folders, ``MoNuSegTestData.zip`` flat."""
    training, test = "MoNuSeg 2018 Training Data", "MoNuSegTestData"
    files: dict[str, bytes] = {}
    for i, code in enumerate((*TRAIN_TCGA, *TEST_TCGA)):
        name, polygons = f"TCGA-{code}-01Z-00-DX1", nuclei_of(i)
        image = photo((blobs(100, 100, 7, i, radius=0.07) > 0).astype(np.uint8), i)
        if code in TRAIN_TCGA:
            files[f"{training}/Tissue Images/{name}.tif"] = tif(image)
            files[f"{training}/Annotations/{name}.xml"] = aperio(polygons)
        else:
            files[f"{test}/{name}.tif"] = tif(image)
            files[f"{test}/{name}.xml"] = aperio(polygons)
    if not zipped:
        for path, data in files.items():
            put(root / path, data)
        return
    root.mkdir(parents=True, exist_ok=True)
    for top in (training, test):
        with zipfile.ZipFile(root / f"{top}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path, data in files.items():
                if path.startswith(f"{top}/"):
                    archive.writestr(path, data)
                    archive.writestr(f"__MACOSX/{path.replace('TCGA', '._TCGA')}", b"\0\5\x16\7")


def monuseg_masks(root: Path, layout: str) -> None:
    """The same tissue as images of masks, in one of the three layouts in use."""
    folders = {
        "Training/img": ("Training", "Test", "img", "mask", ".tif"),
        "Train_Folder/img": ("Train_Folder", "Test_Folder", "img", "labelcol", ".png"),
        "train/img": ("train", "test", "img", "mask", ".png"),
    }[layout]
    train, test, images, masks, suffix = folders
    for i, code in enumerate((*TRAIN_TCGA, *TEST_TCGA)):
        mask = (blobs(100, 100, 7, i, radius=0.07) > 0).astype(np.uint8)
        image, name = photo(mask, i), f"TCGA-{code}-01Z-00-DX1"
        top = train if code in TRAIN_TCGA else test
        if layout == "Train_Folder/img" and i in (1, 2):
            top = "Val_Folder"
        put(root / top / images / f"{name}{suffix}", tif(image) if suffix == ".tif" else png(image))
        put(root / top / masks / f"{name}.png", png(mask * 255))


def her2(root: Path, classes: int = 2) -> None:
    """Patches of six patients with indexed masks and a patient-wise split file."""
    lines = ["name,patient,split"]
    splits = ("train", "train", "train", "val", "test", "test")
    for i in range(12):
        patient, name = i % 6, f"patch_{i:03d}"
        labels = np.minimum(blobs(64, 64, 2 * classes - 2, i), 99)
        labels = ((labels - 1) % (classes - 1) + 1) * (labels > 0)
        put(root / "images" / f"{name}.png", png(photo(labels, i)))
        put(root / "labels" / f"{name}.png", png(labels.astype(np.uint8), palette=True))
        lines.append(f"{name},P{patient:02d},{splits[patient]}")
    put(root / "split.csv", ("\n".join(lines) + "\n").encode())


def folder(root: Path, cases: int = 10) -> None:
    """``images/`` of several formats and ``masks/`` in PNG; names as people give them."""
    names = ["plain", "with space", "it's", 'say "hi"', "Läsion Ñ", "病变", "a.b.c"]
    for i in range(cases):
        name = names[i] if i < len(names) else f"case{i}"
        mask = (blobs(48, 56, 2, i) > 0).astype(np.uint8)
        image = photo(mask, i)
        if i % 3 == 0:
            put(root / "images" / f"{name}.jpg", jpeg(image))
        elif i % 3 == 1:
            put(root / "images" / f"{name}.png", png(image))
        else:
            put(root / "images" / f"{name}.tif", tif(image))
        put(root / "masks" / f"{name}.png", png(mask * 255))


def dim(root: Path, cases: int = 4) -> None:
    """``images/`` and ``masks/`` of grey images with values from 0 to 3."""
    for i in range(cases):
        mask = (blobs(32, 32, 2, i) > 0).astype(np.uint8)
        noise = np.random.default_rng(i).integers(0, 3, mask.shape, np.uint8)
        put(root / "images" / f"{i}.png", png(mask + noise))
        put(root / "masks" / f"{i}.png", png(mask * 255))


def medsegbench(root: Path) -> None:
    """``busi_256.npz`` with the six plain arrays, and the per-class ones beside them."""
    arrays: dict[str, Array] = {}
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        labels = np.stack([blobs(256, 256, 2, 10 * count + i) > 0 for i in range(count)])
        arrays[f"{split}_images"] = np.stack(
            [photo(m * 1, 100 * count + i)[..., 0] for i, m in enumerate(labels)]
        )
        arrays[f"{split}_label"] = labels.astype(np.uint8)
        arrays[f"{split}_images_C1"] = arrays[f"{split}_images"][:1]
        arrays[f"{split}_label_C1"] = arrays[f"{split}_label"][:1]
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / "busi_256.npz", **arrays)


def volume(values: Array, affine: Array | None = None) -> bytes:
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    return gzip.compress(image.to_bytes())


def nifti(root: Path, cases: int = 5) -> None:
    """nnU-Net's ``imagesTr`` and ``labelsTr`` in Hounsfield units; some volumes lie mirrored."""
    for i in range(cases):
        flat = blobs(40, 44, 1, i) > 0
        labels = np.stack([flat * (2 <= z < 6) for z in range(8)], 2).astype(np.uint8)
        draws = np.random.default_rng(i)
        values = (labels * 120 - 60 + draws.normal(0, 30, labels.shape)).astype(np.int16)
        values[:2] = -1024
        affine = np.diag([-1.0, 1, 1, 1]) if i % 2 else np.eye(4)
        put(root / "imagesTr" / f"case_{i:03d}_0000.nii.gz", volume(values, affine))
        put(root / "labelsTr" / f"case_{i:03d}.nii.gz", volume(labels, affine))
        if i == 0:  # as nnU-Net's users have it: a test set without its truth
            put(root / "imagesTs" / "case_900_0000.nii.gz", volume(values, affine))


def torch_em(root: Path) -> None:
    """Kvasir-SEG as torch_em unpacks it: photos and masks as JPEG of the same names."""
    for i in range(10):
        labels = blobs(52, 62, 1, i) > 0
        put(root / "kvasir/Kvasir-SEG/images" / f"cju{i}.jpg", jpeg(photo(labels, i)))
        white = np.repeat(labels[:, :, None] * np.uint8(255), 3, 2)
        put(root / "kvasir/Kvasir-SEG/masks" / f"cju{i}.jpg", jpeg(white))


WRITERS: dict[str, Callable[[Path], None]] = {
    "isic16": isic16,
    "monuseg": monuseg,
    "her2": her2,
    "folder": folder,
    "medsegbench": medsegbench,
    "nifti": nifti,
    "torch_em": torch_em,
}
"""The writer of each reader's official layout."""


def write_all(root: Path) -> Path:
    """Every tree below one folder, where ``SEGPRINT_DATA`` may point."""
    for name, write in WRITERS.items():
        write(root / name)
    return root


def huge_png(side: int) -> bytes:
    """The first bytes of a PNG that says it is so many pixels wide and high."""
    head = struct.pack(">II5B", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(head))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


def each(root: Path) -> list[Path]:
    """All files below a folder, sorted."""
    return sorted(p for p in root.rglob("*") if p.is_file())
