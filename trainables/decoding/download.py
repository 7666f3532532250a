"""Files from a data set's official address: resumed, verified, and put in place whole."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from trainables.interfaces.dataset import DownloadProgress
from trainables.part import require
from trainables.runtime.heartbeat import beat

CHUNK = 2**20
TIMEOUT = 60
TRIES = 5
PAUSE = 0.5
"""Seconds before a second try, doubled each time."""


@dataclass(frozen=True)
class Download:
    """One file at its official address."""

    url: str
    file: str
    """Where it goes, below the data set's place."""
    checksum: str = ""
    """``md5:...`` or ``sha256:...`` as its publisher gives it; empty where none is published."""

    def __post_init__(self) -> None:
        require(self.url.startswith(("https://", "http://")), f"url={self.url!r} must be http(s)")

    def fetch(self, folder: Path, progress: DownloadProgress = lambda done, of: None) -> bool:
        """Download unless it is there and right; whether anything was fetched.

        A download that was interrupted is continued from its ``.part`` file.

        Raises:
            ValueError: the finished file is not the published one; it is removed.
            ConnectionError: the address could not be reached, several times.
        """
        target = folder / self.file
        if target.exists():
            self._verify(target)
            return False
        part = target.with_name(f"{target.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        reason: Exception | None = None
        for attempt in range(TRIES):
            have = part.stat().st_size if part.exists() else 0
            try:
                if self._continue(part, progress):
                    break
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()  # it is the answer, and holds the connection
                    if error.code < http.client.INTERNAL_SERVER_ERROR:
                        raise ConnectionError(f"{self.url}: {error}") from error
                reason = error
            if have == (part.stat().st_size if part.exists() else 0):
                time.sleep(PAUSE * 2**attempt)  # nothing came: let the server recover
        else:
            raise ConnectionError(
                f"{self.url}: {reason or 'ended early'}, {TRIES} times; the same command continues"
            )
        self._verify(part)
        os.replace(part, target)
        return True

    def _continue(self, part: Path, progress: DownloadProgress) -> bool:
        """Load what is missing; whether the file is complete."""
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 - http(s) only
        try:
            answer = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                return _length_of(error.headers.get("Content-Range")) == have or _drop(part)
            raise
        with answer:
            if answer.status != http.client.PARTIAL_CONTENT:
                have = 0  # the server sends all of it again
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with part.open("r+b" if have else "wb") as file:
                file.seek(have)
                have = _copy(answer, file, have, total, progress)
        return total is None or have == total

    def _verify(self, path: Path) -> None:
        kind, _, expected = self.checksum.partition(":")
        if not kind:
            return
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, kind).hexdigest()
        if digest != expected:
            path.unlink()
            raise ValueError(
                f"{self.url}: {kind} is {digest}, its publisher says {expected}; the file was"
                " removed, the same command loads it again"
            )


def _copy(
    answer: http.client.HTTPResponse,
    file: IO[bytes],
    have: int,
    total: int | None,
    progress: DownloadProgress,
) -> int:
    while chunk := answer.read(CHUNK):
        file.write(chunk)
        have += len(chunk)
        progress(have, total)
        beat()
    return have


def _length_of(content_range: str | None) -> int | None:
    """The whole length in ``bytes */123``."""
    last = (content_range or "").rpartition("/")[2]
    return int(last) if last.isdigit() else None


def _drop(part: Path) -> bool:
    """Start over: what is there is no beginning of what the server has."""
    part.unlink()
    return False
