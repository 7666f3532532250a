"""The usual AWS credential chain, for libraries that do not follow it themselves."""

from __future__ import annotations

import functools
from typing import Any, cast

import botocore.session


@functools.lru_cache(maxsize=1)
def aws_chain(_: int) -> dict[str, str]:
    """Return endpoint, region and keys from the environment, the profile or the instance.

    The result is cached by the argument, the time in coarse steps: credentials may change while a
    driver runs.
    """
    session = cast("Any", botocore.session).get_session()  # botocore has no types
    client = session.create_client("s3")
    settings = {"AWS_ENDPOINT_URL": client.meta.endpoint_url, "AWS_REGION": client.meta.region_name}
    credentials = session.get_credentials()
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        settings["AWS_ACCESS_KEY_ID"] = frozen.access_key
        settings["AWS_SECRET_ACCESS_KEY"] = frozen.secret_key
        settings["AWS_SESSION_TOKEN"] = frozen.token
    if "amazonaws.com" in settings["AWS_ENDPOINT_URL"]:
        del settings["AWS_ENDPOINT_URL"]
    return {name: value for name, value in settings.items() if value}
