"""Durations and sizes as short texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def clock(seconds: float) -> str:
    """Return a duration in seconds as a short text.

    >>> clock(42.3), clock(200), clock(7300)
    ('42 s', '3 min 20 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: int) -> str:
    """Return a number of bytes as a short text.

    >>> size(812), size(52_700_000), size(3_000_000_000)
    ('812 B', '52.7 MB', '3.00 GB')
    """
    if count < 1000:
        return f"{count} B"
    if count < 1e6:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"


def memory(costs: Mapping[str, Any]) -> str:
    """Return the peak memory as a text: of the device where there is one, else of the process.

    >>> memory({"peak_device_bytes": 3 * 2**30, "peak_host_bytes": 2**30})
    '3.0 GiB on the device'
    >>> memory({"peak_device_bytes": None, "peak_host_bytes": 200 * 2**20})
    '0.2 GiB'
    """
    device, host = costs["peak_device_bytes"], costs["peak_host_bytes"]
    if device:
        return f"{device / 2**30:.1f} GiB on the device"
    return "–" if host is None else f"{host / 2**30:.1f} GiB"
