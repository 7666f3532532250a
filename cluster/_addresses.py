"""Finds the dashboard of a head, and the head of a dashboard: users name either.

A head and its dashboard may name themselves by a loopback address, which only their own machine
reaches. Then the host that the user named is tried in its place.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from cluster import _head_probe, _jobs

LOOPBACK = ("127.0.0.1", "localhost", "0.0.0.0", "::1")  # noqa: S104
HEAD_ARGUMENT = re.compile(r"--gcs-address=([^\s\"',]+)")
"""An argument of every raylet, which the dashboard shows."""


def is_endpoint(address: str) -> bool:
    """Whether an address is that of a dashboard."""
    return address.startswith(("http://", "https://"))


def check_form(address: str) -> str:
    """Return an address of either form.

    Raises:
        ValueError: it has neither form.
    """
    host, _, port = address.rpartition(":")
    if is_endpoint(address) or ("://" not in address and host and port.isdigit()):
        return address
    raise ValueError(
        f"cluster existing: RAY_ADDRESS={address!r} must be HOST:PORT of the head, e.g. head:6379,"
        " or the http:// address of its dashboard, e.g. http://127.0.0.1:8265"
    )


def dashboard_of(head: str) -> str:
    """Return the address of the dashboard of the head at HOST:PORT.

    Raises:
        ConnectionError: the head does not answer, or has no dashboard that can be reached.
    """
    place = _head_probe.dashboard(head)
    if not place:
        raise ConnectionError(
            f"the head at RAY_ADDRESS={head} has no dashboard, which takes submitted studies:"
            " start it with ray start --head --include-dashboard=true"
        )
    places = list(dict.fromkeys([place, _from_outside(place, head.rpartition(":")[0])]))
    for tried in places:
        try:
            _jobs.check_dashboard(f"http://{tried}")
        except ConnectionError:
            continue
        return f"http://{tried}"
    raise ConnectionError(
        f"the dashboard of the head at RAY_ADDRESS={head} does not answer at"
        f" {' or '.join(places)}: start the head with --dashboard-host 0.0.0.0, or open an SSH"
        f" tunnel (ssh -L) to it and set RAY_ADDRESS to http:// and its end"
    )


def head_of(url: str) -> str:
    """Return HOST:PORT of the head of a dashboard.

    Raises:
        ConnectionError: the dashboard does not answer, or its head cannot be reached from here.
    """
    found = HEAD_ARGUMENT.search(_jobs.nodes_text(url))
    if found is None:
        raise ConnectionError(
            f"the dashboard at RAY_ADDRESS={url} does not name its head: set RAY_ADDRESS to"
            " HOST:PORT of the head, e.g. head:6379"
        )
    head = found.group(1)
    heads = list(dict.fromkeys([head, _from_outside(head, urlsplit(url).hostname or "")]))
    for tried in heads:
        try:
            _head_probe.connect(tried)
        except ConnectionError:
            continue
        return tried
    raise ConnectionError(
        f"the head of the dashboard at RAY_ADDRESS={url} does not answer at {' or '.join(heads)}:"
        " a sweep from here needs a path to it; segprint submit needs only the dashboard"
    )


def _from_outside(place: str, host: str) -> str:
    """Return a place with the user's host if the place names its own machine."""
    name, _, port = place.rpartition(":")
    return f"{host}:{port}" if name.strip("[]") in LOOPBACK and host else place
