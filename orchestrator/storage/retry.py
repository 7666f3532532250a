"""Retries: which failures of a store are temporary, and how long to wait for it."""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from aiohttp import ClientError as HttpError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

FAILURES = (OSError, BotoCoreError, HttpError)
"""Errors that a call to a store may raise."""
PERMANENT = (
    PermissionError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ParamValidationError,
)
"""Failures that a retry does not cure."""
PERMANENT_S3_CODES = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied")
TEMPORARY_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.ESTALE,
    errno.EBUSY,
    errno.ETIMEDOUT,
}
"""Failures of a local or mounted disk that may pass: files are deleted, a server comes back."""
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 20.0
"""Seconds between two attempts; each pause is at most twice as long as the one before."""
SILENT_ATTEMPTS = 4
"""Failed attempts before a warning is logged."""
Result = TypeVar("Result")
log = logging.getLogger("segprint.store")


def with_retries(call: Callable[[], Result], seconds: float, what: str, *, remote: bool) -> Result:
    """Repeat a call until it succeeds, fails permanently, or ``seconds`` are over.

    Returns the call's result, or raises its last error; ``what`` names the call in the log. Pauses
    grow exponentially with full jitter, so that a thousand trials that lost their store at the
    same time do not return at the same time.
    """
    deadline, attempts = time.monotonic() + seconds, 0
    while True:
        try:
            return call()
        except FAILURES as error:
            left = deadline - time.monotonic()
            if left <= 0 or not is_temporary(error, remote=remote):
                raise
            if attempts == SILENT_ATTEMPTS:
                log.warning("segprint: %s: failed, retrying for %.0f s: %s", what, left, error)
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempts) * random.random()
            time.sleep(min(pause, left))
            attempts += 1


def is_temporary(error: Exception, *, remote: bool) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, PERMANENT):
        return False
    if not remote:
        return isinstance(error, OSError) and error.errno in TEMPORARY_ERRNOS
    return s3_code(error) not in PERMANENT_S3_CODES


def s3_code(error: BaseException | None) -> str | None:
    """Return the code of S3's answer in an error or its causes: s3fs wraps it in an OSError."""
    while error is not None:
        if isinstance(error, ClientError):
            response = cast("dict[str, Any]", cast("Any", error).response)
            return str(response.get("Error", {}).get("Code"))
        error = error.__cause__
    return None
