"""Decoded images, kept once per machine in a memory-mapped file that all its processes share."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

import filelock
import numpy as np
from numpy.typing import NDArray

from trainables import user_files
from trainables.decoding.loaded import Image, Loaded, Tally
from trainables.decoding.rules import accepted, checked
from trainables.interfaces.dataset import Dataset
from trainables.part import HERE, identity
from trainables.places import cache_folder
from trainables.runtime.heartbeat import beat

ALIGN = 64
"""Every array begins at a multiple of so many bytes."""
ARRAYS = (
    *("pixels", "labels", "instances", "targets", "points"),
    *("annotations", "annotation_targets"),
)
FACTS = ("name", "group", "split", "volume", "spacing", "annotators")
NEW = ".new-"
"""Prefix of the name of a folder that is not complete."""
PATIENCE = 2.0
"""Seconds before progress is printed."""

Array = NDArray[Any]


def cache_bytes() -> int:
    """Return the bytes that decoded images may take: ``$SEGPRINT_CACHE_GB``, else 50 GiB.

    Raises:
        ValueError: the variable is no positive number.
    """
    given = os.environ.get("SEGPRINT_CACHE_GB") or "50"
    try:
        size = int(float(given) * 2**30)
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise ValueError(f"SEGPRINT_CACHE_GB={given!r} must be a positive number")
    return size


@functools.lru_cache(maxsize=8)
def load(dataset: Dataset) -> Loaded:
    """Return a data set, decoded at most once per machine; within a process the same object.

    Raises:
        ValueError: a file is bad, or the files together break a rule.
        OSError: the place cannot be read, or the cache not be written.
    """
    stamp = dataset.stamp()
    if stamp is None:
        tally, images = Tally(dataset), list[Image]()
        for source, raster in checked(dataset, accepted(dataset)):
            images.append(tally.add(source, raster))
            beat()
        return tally.loaded(images)
    folder = cache_folder("decoded") / f"{dataset.name}-{_key(dataset, stamp)}"
    with _alone(folder, dataset.title):
        if not all((folder / name).exists() for name in ("index.json", "arrays")):
            _build(dataset, folder)
        os.utime(folder)  # the least recently used are dropped first
        return _opened(folder)


@functools.cache
def content_hash(dataset: Dataset) -> str:
    """Return the hash of all images and masks; kept for more data sets than are kept open."""
    return load(dataset).content_hash


def forget() -> None:
    """Forget what was read, for a process in which the files change."""
    load.cache_clear()
    content_hash.cache_clear()


@contextlib.contextmanager
def _alone(folder: Path, title: str) -> Generator[None]:
    """Hold a lock that one process has at a time; say so where it has to wait."""
    lock = filelock.FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=PATIENCE)
    except filelock.Timeout:
        print(f"segprint: {title}: another process decodes it, waiting", file=sys.stderr)
        while not lock.is_locked:
            beat()  # the process that decodes has its own heartbeat
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(timeout=PATIENCE)
    try:
        yield
    finally:
        lock.release()


def _key(dataset: Dataset, stamp: str) -> str:
    """Return a name for the files, the settings, and the code that reads them."""
    code = hashlib.sha256()
    modules = [sys.modules[c.__module__] for c in type(dataset).__mro__ if issubclass(c, Dataset)]
    for module in modules:
        code.update(user_files.content(module))
    for file in sorted((HERE / "decoding").glob("*.py")):
        code.update(file.read_bytes())
    fields = dict[str, Any](identity(dataset)[dataset.name])
    fields.pop("size", None)  # of tiles, not of what is decoded
    key = json.dumps(
        [fields, dataset.classes, dataset.where, stamp, code.hexdigest()], sort_keys=True
    )
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _build(dataset: Dataset, folder: Path) -> None:
    """Decode everything into a new folder, which gets its name when it is complete."""
    bound = cache_bytes()
    new = folder.with_name(f"{NEW}{folder.name}")
    shutil.rmtree(new, ignore_errors=True)  # left by a process that was killed
    new.mkdir()
    try:
        size = _write(dataset, new, bound)
        with filelock.FileLock(folder.with_name("room.lock")):
            _evict(folder, bound - size)
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _write(dataset: Dataset, new: Path, bound: int) -> int:
    """Write all arrays and the index; return their bytes."""
    sources = accepted(dataset)
    tally, progress = Tally(dataset), _Progress(dataset.title, len(sources))
    index: list[dict[str, Any]] = []
    noted, note = 0, ""
    with (new / "arrays").open("wb") as arrays:
        for source, raster in checked(dataset, sources):
            image = tally.add(source, raster)
            entry: dict[str, Any] = {k: getattr(image, k) for k in FACTS}
            for name in ARRAYS:
                if name != "targets" or image.targets is not image.labels:
                    entry[name] = _append(arrays, getattr(image, name))
            index.append(entry)
            if raster.notes:
                noted, note = noted + 1, note or f"{source.file or source.name}: {raster.notes[0]}"
            progress.decoded(len(index))
            beat()
            if arrays.tell() > bound:
                raise OSError(
                    f"{dataset.title}: decoded it takes more than the {bound / 2**30:g} GiB that"
                    f" {new.parent} may; raise SEGPRINT_CACHE_GB, or reduce the images (longest=)"
                )
        size = arrays.tell()
    if noted:
        text = f"{noted} images have warnings, such as {note}; `segprint data check` lists them"
        print(f"segprint: {dataset.title}: {text}", file=sys.stderr, flush=True)
    loaded = tally.loaded([])
    facts = {
        "mean": loaded.mean.tolist(),
        "std": loaded.std.tolist(),
        "pixels": loaded.pixels,
        "content_hash": loaded.content_hash,
        "images": index,
    }
    (new / "index.json").write_text(json.dumps(facts), encoding="utf-8")
    return size


def _append(arrays: IO[bytes], array: Array | None) -> list[Any] | None:
    """Append an array; return its offset, its shape and its type."""
    if array is None:
        return None
    arrays.write(b"\0" * (-arrays.tell() % ALIGN))
    start = arrays.tell()
    arrays.write(np.ascontiguousarray(array).data)
    return [start, array.shape, array.dtype.name]


def _opened(folder: Path) -> Loaded:
    """Return the images as views of the mapped file, which is read where it is used."""
    facts = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    arrays = np.memmap(folder / "arrays", np.uint8, "r")

    def view(entry: list[Any] | None) -> Any:
        if entry is None:
            return None
        start, shape, kind = entry
        size = math.prod(shape) * np.dtype(str(kind)).itemsize
        return np.asarray(arrays[start : start + size]).view(kind).reshape(shape)

    images: list[Image] = []
    for entry in facts["images"]:
        parts = {name: view(entry[name]) for name in ARRAYS if name in entry}
        parts.setdefault("targets", parts["labels"])
        facts_of_image = {k: entry[k] for k in FACTS} | {"annotators": tuple(entry["annotators"])}
        if entry["spacing"] is not None:
            facts_of_image["spacing"] = tuple(entry["spacing"])
        images.append(Image(**facts_of_image, **parts))
    return Loaded(
        images,
        np.array(facts["mean"]),
        np.array(facts["std"]),
        facts["pixels"],
        facts["content_hash"],
    )


def _evict(new: Path, left: int) -> None:
    """Remove unfinished folders, and the least recently used sets until the rest fit.

    A process that has one open can still read it: a mapped file outlives its name.
    """
    folders = [f for f in new.parent.iterdir() if f.is_dir() and new.name not in f.name]
    usage = {folder: (_used(folder), _size(folder / "arrays")) for folder in folders}
    for folder in sorted(folders, key=lambda f: usage[f], reverse=True):
        name = folder.name.removeprefix(NEW)
        if name == folder.name:
            left -= usage[folder][1]
            if left >= 0:
                continue
        try:
            with filelock.FileLock(folder.with_name(f"{name}.lock"), timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except filelock.Timeout:
            continue  # another process opens or builds it


def _used(path: Path) -> float:
    """Return when it was last used; 0 if another process has removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(path: Path) -> int:
    """Return its bytes; 0 if another process has removed it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _Progress:
    """Prints progress on stderr, at most every :data:`PATIENCE` seconds."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total = title, total
        self.began = self.last = time.monotonic()

    def decoded(self, count: int) -> None:
        now = time.monotonic()
        if now - self.last > PATIENCE:
            self.last = now
            left = (now - self.began) / count * (self.total - count)
            text = f"{count} of {self.total} images decoded, about {left:.0f} s left"
            print(f"segprint: {self.title}: {text}", file=sys.stderr, flush=True)
