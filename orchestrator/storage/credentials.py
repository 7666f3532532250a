"""The usual AWS chain, for libraries that do not follow it themselves."""

from __future__ import annotations

import functools
from typing import Any

import botocore.session


@functools.lru_cache(maxsize=1)
def aws_chain(_: int) -> dict[str, str]:
    """What the usual AWS chain (environment, profile, instance) says.

    The argument is the time in coarse steps: credentials may change while a driver runs.
    """
    session = botocore.session.get_session()
    client: Any = session.create_client("s3")
    found = {"AWS_ENDPOINT_URL": client.meta.endpoint_url, "AWS_REGION": client.meta.region_name}
    credentials: Any = session.get_credentials()
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        found["AWS_ACCESS_KEY_ID"] = frozen.access_key
        found["AWS_SECRET_ACCESS_KEY"] = frozen.secret_key
        found["AWS_SESSION_TOKEN"] = frozen.token
    if "amazonaws.com" in found["AWS_ENDPOINT_URL"]:
        del found["AWS_ENDPOINT_URL"]
    return {name: value for name, value in found.items() if value}
