"""Short names of cells: the words in which they differ."""

from __future__ import annotations

from collections.abc import Iterable


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return each name without the words that all of them begin or end with.

    No name is left empty; a single name stays.

    >>> list(short_names(["nuclei_linear_default", "nuclei_cosine_default"]).values())
    ['linear', 'cosine']
    >>> list(short_names(["nuclei", "nuclei_large"]).values()), short_names(["default"])
    (['nuclei', 'nuclei_large'], {'default': 'default'})
    """
    words = {name: name.split("_") for name in dict.fromkeys(names)}
    if len(words) < 2:
        return {name: name for name in words}
    for end in (0, -1):
        while all(len(w) > 1 for w in words.values()) and len({w[end] for w in words.values()}) < 2:
            for each in words.values():
                each.pop(end)
    return {name: "_".join(each) for name, each in words.items()}
