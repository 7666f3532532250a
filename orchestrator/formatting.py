"""Durations, sizes, counts and names as texts that are safe to show."""

from __future__ import annotations

import difflib
import math
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, cast


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


def approximately(low: float, middle: float, high: float) -> str:
    """Return an estimated duration in seconds with its range, in whole units of its size.

    >>> approximately(721, 840, 961), approximately(50, 50.2, 50.4), approximately(2900, 9e3, 3e4)
    ('14 min (12–16 min)', '50 s', '2.5 h (0.8–8.3 h)')
    """
    scale, unit, digits = 60, "min", 0
    if middle < 100:
        scale, unit = 1, "s"
    elif middle >= 7200:
        scale, unit, digits = 3600, "h", 1
    first, estimate, last = (f"{each / scale:.{digits}f}" for each in (low, middle, high))
    return f"{estimate} {unit}" if first == last else f"{estimate} {unit} ({first}–{last} {unit})"


def significant(number: float | None) -> str | None:
    """Return a number with three significant digits and no exponent; None stays.

    >>> significant(1234.5), significant(12.345), significant(0.01234), significant(None)
    ('1234', '12.3', '0.0123', None)
    """
    if number is None:
        return None
    exponent = math.floor(math.log10(abs(number))) if number else 0
    return f"{number:.{max(0, 2 - exponent)}f}"


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


def nearest(text: str, choices: Iterable[str]) -> str:
    """Return a question for the choice that is most like a text; empty if none is like it.

    >>> nearest("leaderbord", ["trials", "leaderboard"])
    "; did you mean 'leaderboard'?"
    """
    near = difflib.get_close_matches(text, sorted(choices), n=1)
    return f"; did you mean {near[0]!r}?" if near and near[0] != text else ""


def binary_size(count: float) -> str:
    """Return a number of bytes of memory as a short text.

    >>> binary_size(3 * 2**29), binary_size(200 * 2**20)
    ('1.5 GiB', '200 MiB')
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


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


JOINERS = "\u200c\u200d"
"""Invisible characters that some scripts and emoji need."""
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: control, format (such as bidirectional marks), surrogate, separators."""


def printable(text: str, keep: str = "") -> str:
    r"""Return a text with escapes in place of characters that act on a terminal or a reader.

    >>> printable("a\x1b[31m\nb"), printable("a\nb", keep="\n")
    ('a\\x1b[31m\\nb', 'a\nb')
    """
    if text.isascii() and text.isprintable():
        return text
    kept = keep + JOINERS
    return "".join(
        c.encode("unicode_escape").decode()
        if c not in kept and unicodedata.category(c) in INVISIBLE
        else c
        for c in text
    )


def printable_within(value: Any) -> Any:
    """Return nested lists and dictionaries with every text in them printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {printable_within(k): printable_within(v) for k, v in items}
    if isinstance(value, (list, tuple)):
        return [printable_within(item) for item in cast("list[Any]", value)]
    return value


FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_cell(value: Any) -> Any:
    """Return a cell of CSV that no spreadsheet runs as a formula; texts get an apostrophe.

    Numbers stay, also as texts.

    >>> csv_cell("=1+1"), csv_cell(-1), csv_cell("-0.5"), csv_cell("a=b")
    ("'=1+1", -1, '-0.5', 'a=b')
    """
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "seed"), plural(3000, "seed"), plural(2, "study")
    ('1 seed', '3000 seeds', '2 studies')
    >>> plural(2, "class"), plural(2, "match"), plural(2, "array")
    ('2 classes', '2 matches', '2 arrays')
    """
    if count == 1:
        return f"{count} {noun}"
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{count} {noun}es"
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}s"


def were(count: int) -> str:
    """Return the verb after a count: was or were."""
    return "was" if count == 1 else "were"


def with_interval(row: Mapping[str, Any], name: str) -> str:
    """Return a number of a row with its interval, whose ends may be unknown.

    Three decimals at most, and no more than two significant digits of half the interval's width.

    >>> with_interval({"dice": 0.9, "dice_low": 0.85, "dice_high": 0.94}, "dice")
    '0.900 [0.850, 0.940]'
    >>> with_interval({"dice": 0.9, "dice_low": 0.61, "dice_high": 0.94}, "dice")
    '0.90 [0.61, 0.94]'
    """
    low, high = (row[f"{name}{end}"] for end in ("_low", "_high"))
    if low is None or high is None:
        return f"{row[name]:.3f}"
    half = (high - low) / 2
    digits = 1 - math.floor(math.log10(half)) if 0 < half < math.inf else 3
    digits = min(3, max(0, digits))
    return f"{row[name]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
