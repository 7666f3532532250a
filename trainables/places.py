"""Where data sets are read from and downloads are kept: directories and ``s3://`` prefixes."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def data_dir() -> str:
    """Return where data sets are: ``$SEGPRINT_DATA``, else ``./data``; a directory or ``s3://...``."""
    return os.environ.get("SEGPRINT_DATA") or "data"


def cache_dir() -> Path:
    """Return where downloads are kept: ``$SEGPRINT_CACHE``, else ``~/.cache/segprint``."""
    return Path(os.environ.get("SEGPRINT_CACHE") or Path.home() / ".cache" / "segprint")


def cache_folder(name: str) -> Path:
    """Return a folder below :func:`cache_dir`, which is created.

    Raises:
        OSError: it cannot be created or written; names the variable that moves it.
    """
    folder = cache_dir() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "it may not be written")
    except OSError as error:
        raise OSError(
            f"{folder}: {error.strerror}; set SEGPRINT_CACHE to a directory that can be written"
        ) from error
    return folder


def located(at: str) -> str:
    """The full place of a name below :func:`data_dir`, of an absolute path, or of an s3:// URL.

    Raises:
        ValueError: a URL with credentials in it, or of another kind.
    """
    full = "://" in at or Path(at).expanduser().is_absolute()
    place = at if full else f"{data_dir().removesuffix('/')}/{at}"
    scheme, separator, rest = place.partition("://")
    if not separator:
        return str(Path(place).expanduser().absolute())
    if "@" in rest:
        raise ValueError("data: credentials belong in the environment, not in the URL")
    if scheme != "s3" or not rest.strip("/"):
        raise ValueError(f"data {place!r} must be a directory or s3://BUCKET[/PREFIX]")
    return place.rstrip("/")
