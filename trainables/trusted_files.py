"""Which Python files of a user may be run: what a store says is data, and never code."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path


class UntrustedError(ValueError):
    """Stored text names a Python file that the user has not named."""


_TRUSTED: ContextVar[frozenset[Path] | None] = ContextVar("trusted", default=None)
"""The files that may be run; None: all, because the user wrote what is parsed."""


@contextmanager
def only_trusted(files: Iterable[str] = ()) -> Generator[None]:
    """Run no other user's files than these while the block parses text from a store.

    Parsing raises :class:`UntrustedError` for any other file.
    """
    token = _TRUSTED.set(frozenset(Path(file).expanduser().resolve() for file in files))
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def parsing_stored_text() -> bool:
    """Whether a block of :func:`only_trusted` parses text from a store."""
    return _TRUSTED.get() is not None


def check_trusted(what: str, path: str) -> None:
    """Check that the file of a part may be run; ``what`` is the part's kind, for the message.

    Raises:
        UntrustedError: only some files may be run, and this is none of them.
    """
    trusted = _TRUSTED.get()
    if trusted is not None and Path(path).expanduser().resolve() not in trusted:
        raise UntrustedError(
            f"{what} {path!r}: stored text names this file, and code that a store names is not"
            f" run; `--trust {path}` allows it"
        )
