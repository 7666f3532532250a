"""Decoded images, kept once per machine in a memory-mapped file that all its processes share."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any, cast

import filelock
import numpy as np
from numpy.typing import NDArray

from trainables.decoding.loaded import Image, Loaded, Tally
from trainables.decoding.rules import accepted, checked
from trainables.decoding.tree import cache_dir
from trainables.interfaces.dataset import Dataset
from trainables.part import HERE, identity
from trainables.runtime.heartbeat import beat

ALIGN = 64
"""Bytes: where an array may begin."""
ARRAYS = ("pixels", "labels", "instances", "targets", "points")
NEW = ".new-"
"""Begins the name of what is not complete."""
PATIENCE = 2.0
"""Seconds of silence before progress is told."""

Array = NDArray[Any]


def cache_bytes() -> int:
    """How much decoded images may take: ``$SEGPRINT_CACHE_GB``, else 50 GiB.

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
    """A data set, decoded at most once per machine; within a process the same object.

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
    folder = cache_dir() / "decoded" / f"{dataset.name}-{_key(dataset, stamp)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder, dataset.title):
        if not all((folder / name).exists() for name in ("index.json", "arrays")):
            _build(dataset, folder)
        os.utime(folder)  # the least recently used are dropped first
        return _opened(folder)


@functools.cache
def content_hash(dataset: Dataset) -> str:
    """Of its images and masks; known for more data sets than are kept open."""
    return load(dataset).content_hash


def forget() -> None:
    """Read everything anew: for a process that outlives a change of the files."""
    load.cache_clear()
    content_hash.cache_clear()


@contextlib.contextmanager
def _alone(folder: Path, title: str) -> Generator[None]:
    """One process at a time; the others are told what they wait for."""
    lock = filelock.FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=PATIENCE)
    except filelock.Timeout:
        print(f"segprint: {title}: another process decodes it, waiting", file=sys.stderr)
        while not lock.is_locked:
            beat()  # whoever decodes has a pulse of its own
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(timeout=PATIENCE)
    try:
        yield
    finally:
        lock.release()


def _key(dataset: Dataset, stamp: str) -> str:
    """Names what is decoded: the files, the settings, and the code that reads them."""
    code = hashlib.sha256()
    modules = [sys.modules[c.__module__] for c in type(dataset).__mro__ if issubclass(c, Dataset)]
    own = [Path(cast("str", module.__file__)) for module in modules]
    for file in (*own, *sorted((HERE / "decoding").glob("*.py"))):
        code.update(file.read_bytes())
    fields = dict[str, Any](identity(dataset)[dataset.name])
    fields.pop("size", None)  # of tiles, not of what is decoded
    told = json.dumps(
        [fields, dataset.classes, dataset.where, stamp, code.hexdigest()], sort_keys=True
    )
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _build(dataset: Dataset, folder: Path) -> None:
    """Decode everything into a new folder, which gets its name when it is complete."""
    bound = cache_bytes()
    new = folder.with_name(f"{NEW}{folder.name}")
    shutil.rmtree(new, ignore_errors=True)  # of somebody who was killed: the lock is ours
    new.mkdir()
    try:
        size = _write(dataset, new, bound)
        with filelock.FileLock(folder.with_name("room.lock")):
            _make_room(folder, bound - size)
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _write(dataset: Dataset, new: Path, bound: int) -> int:
    """Write all arrays and the index; how many bytes they take."""
    sources = accepted(dataset)
    tally, told = Tally(dataset), _Told(dataset.title, len(sources))
    index: list[dict[str, Any]] = []
    with (new / "arrays").open("wb") as arrays:
        for source, raster in checked(dataset, sources):
            image = tally.add(source, raster)
            about: dict[str, Any] = {k: getattr(image, k) for k in ("name", "group", "split")}
            for name in ARRAYS:
                if name != "targets" or image.targets is not image.labels:
                    about[name] = _kept(arrays, getattr(image, name))
            index.append(about)
            told.decoded(len(index))
            beat()
            if arrays.tell() > bound:
                raise OSError(
                    f"{dataset.title}: decoded it takes more than the {bound / 2**30:g} GiB that"
                    f" {new.parent} may; raise SEGPRINT_CACHE_GB, or reduce the images (longest=)"
                )
        size = arrays.tell()
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


def _kept(arrays: IO[bytes], array: Array | None) -> list[Any] | None:
    """Append an array; where it begins, its shape and its type."""
    if array is None:
        return None
    arrays.write(b"\0" * (-arrays.tell() % ALIGN))
    start = arrays.tell()
    arrays.write(np.ascontiguousarray(array).data)
    return [start, array.shape, array.dtype.name]


def _opened(folder: Path) -> Loaded:
    """The images as views of the mapped file: nothing is read before it is looked at."""
    facts = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    arrays = np.memmap(folder / "arrays", np.uint8, "r")

    def view(kept: list[Any] | None) -> Any:
        if kept is None:
            return None
        start, shape, kind = kept
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        return np.asarray(arrays[start : start + size]).view(kind).reshape(shape)

    images: list[Image] = []
    for about in facts["images"]:
        found = {name: view(about[name]) for name in ARRAYS if name in about}
        found.setdefault("targets", found["labels"])
        images.append(Image(about["name"], about["group"], about["split"], **found))
    return Loaded(
        images,
        np.array(facts["mean"]),
        np.array(facts["std"]),
        facts["pixels"],
        facts["content_hash"],
    )


def _make_room(mine: Path, left: int) -> None:
    """Drop what others left unfinished, and the sets least recently used until the rest fit.

    A process that has one open keeps reading it: a mapped file outlives its name.
    """
    folders = [f for f in mine.parent.iterdir() if f.is_dir() and mine.name not in f.name]
    about = {folder: (_used(folder), _size(folder / "arrays")) for folder in folders}
    for folder in sorted(folders, key=lambda f: about[f], reverse=True):
        name = folder.name.removeprefix(NEW)
        if name == folder.name:
            left -= about[folder][1]
            if left >= 0:
                continue
        try:
            with filelock.FileLock(folder.with_name(f"{name}.lock"), timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except filelock.Timeout:
            continue  # somebody is just opening it, or building it


def _used(path: Path) -> float:
    """When it was last used; 0 if somebody just renamed or removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(path: Path) -> int:
    """Its bytes; 0 if somebody just renamed or removed it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _Told:
    """Progress on stderr, where decoding takes long enough to wonder."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total = title, total
        self.began = self.last = time.monotonic()

    def decoded(self, count: int) -> None:
        now = time.monotonic()
        if now - self.last > PATIENCE:
            self.last = now
            left = (now - self.began) / count * (self.total - count)
            said = f"{count} of {self.total} images decoded, about {left:.0f} s left"
            print(f"segprint: {self.title}: {said}", file=sys.stderr, flush=True)
