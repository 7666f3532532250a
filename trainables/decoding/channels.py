"""Images with one file per channel, as nnU-Net names them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import NamedTuple

from trainables.decoding.layout import Key, Keyed
from trainables.decoding.tree import File
from trainables.interfaces.dataset import Problem

CHANNEL = re.compile(r"(.*)_(\d{4})")
"""nnU-Net's names of a case's channels."""


class Cases(NamedTuple):
    """Images with one file per channel."""

    first: Keyed
    """The first channel of each case; several files where two have the same stem."""
    channels: dict[str, list[File]]
    """All channels of a case, by the path of its first."""
    odd: dict[str, Problem]
    """Cases whose channel numbers are not those of most cases, by the path of their first."""


def by_case(images: Keyed, masked: Collection[Key]) -> Cases:
    """Images by case: the files ``a_0000``, ``a_0001``, ... are the channels of ``a``."""
    cases: Keyed = defaultdict(list)
    numbers: dict[Key, list[str]] = defaultdict(list)
    for key, files in images.items():
        channel = CHANNEL.fullmatch(key[-1])
        of_case = key
        if channel is not None and key not in masked and (*key[:-1], channel[1]) in masked:
            of_case = (*key[:-1], channel[1])
        cases[of_case] += files
        numbers[of_case].append("" if of_case == key or channel is None else channel[2])
    first: Keyed = {}
    channels: dict[str, list[File]] = {}
    for key, files in cases.items():
        files.sort(key=lambda f: f.stem)
        first[key] = files[:1] if len({f.stem for f in files}) == len(files) else files
        channels[files[0].path] = files
    complete = {key: tuple(sorted(n)) for key, n in numbers.items() if key in masked}
    counts = Counter(complete.values())
    odd: dict[str, Problem] = {}
    if counts:
        usual, _ = max(counts.items(), key=lambda item: (item[1], len(item[0])))
        for key, mine in complete.items():
            if mine != usual:
                file, shown = (
                    cases[key][0].path,
                    [", ".join(c or "none" for c in n) for n in (mine, usual)],
                )
                rule = f"has the channels {shown[0]}; other cases have {shown[1]}"
                odd[file] = Problem(file, rule)
    return Cases(first, channels, odd)
