"""Which failures of a store may pass, and how they are waited out."""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

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
HOPELESS = (
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
"""Waiting does not cure these."""
REFUSALS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied")
PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EBUSY, errno.ETIMEDOUT}
"""Of a local or mounted disk: somebody may make room, a server may come back."""
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 20.0
"""Seconds between two tries, at most."""
QUIET_TRIES = 4
"""A wait that takes longer than these is worth a word."""
Result = TypeVar("Result")
log = logging.getLogger("segprint.store")


def wait(call: Callable[[], Result], seconds: float, what: str, *, remote: bool) -> Result:
    """Call until it works, fails for good, or ``seconds`` are over; the last error is raised.

    Pauses grow exponentially with full jitter: a thousand trials that lost their store at once do
    not come back at once.
    """
    deadline, tries = time.monotonic() + seconds, 0
    while True:
        try:
            return call()
        except FAILURES as error:
            left = deadline - time.monotonic()
            if left <= 0 or not may_pass(error, remote=remote):
                raise
            if tries == QUIET_TRIES:
                log.warning("segprint: %s: not yet, trying on for %.0f s: %s", what, left, error)
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**tries) * random.random()
            time.sleep(min(pause, left))
            tries += 1


def may_pass(error: Exception, *, remote: bool) -> bool:
    """Whether the same call may work in a while."""
    if isinstance(error, HOPELESS):
        return False
    if not remote:
        return isinstance(error, OSError) and error.errno in PASSING
    return s3_code(error) not in REFUSALS


def s3_code(error: BaseException | None) -> str | None:
    """The error code that S3 answered with; s3fs wraps it in an OSError."""
    while error is not None:
        if isinstance(error, ClientError):
            return str(error.response.get("Error", {}).get("Code"))
        error = error.__cause__
    return None
