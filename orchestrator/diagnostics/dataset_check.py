"""A data set read file by file: the contents of each split, and everything that is wrong."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from orchestrator.diagnostics.foreground_checks import tiled_counts, too_few
from orchestrator.diagnostics.mask_checks import Case, Orientation, case_of, suspicions
from orchestrator.diagnostics.shape_checks import ObjectNumbers, repeated_edges
from trainables.datasets import SPLITS, Dataset, Problem, Raster, Source
from trainables.decoding.images import ChannelsError
from trainables.decoding.loaded import class_counts
from trainables.decoding.rules import alike, among, decoded, fault, of_other_channels, scanned
from trainables.decoding.tree import in_a_line
from trainables.user_files import explained

Row = dict[str, Any]


@dataclass
class Found:
    """The result of :func:`walk`."""

    problems: list[Problem] = field(default_factory=list[Problem])
    splits: list[Row] = field(default_factory=list[Row])

    @property
    def broken(self) -> bool:
        """Whether training would be refused."""
        return any(p.fatal for p in self.problems)


@dataclass
class _Part:
    """Counts over the images of one split."""

    images: int = 0
    groups: set[str] = field(default_factory=set[str])
    sizes: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    types: Counter[str] = field(default_factory=Counter[str])
    pixels: list[int] = field(default_factory=list[int])
    tiled: list[int] = field(default_factory=list[int])
    ignored: int = 0
    empty: int = 0
    cases: list[Case] = field(default_factory=list[Case])


def walk(dataset: Dataset) -> Found:
    """Read every file; a bad one is noted as a problem, and the others are still read."""
    found = Found()
    try:
        items = list(scanned(dataset))
    except Exception as error:
        by_user = explained(error)
        if by_user is None and not isinstance(error, (ValueError, OSError)):
            raise
        found.problems.append(Problem(dataset.where, by_user or in_a_line(error)))
        return found
    sources = [s for s in items if isinstance(s, Source)]
    found.problems += [p for p in items if isinstance(p, Problem)]
    found.problems += among(sources)
    parts: dict[str, _Part] = {split: _Part() for split in SPLITS}
    orientation, numbers = Orientation(), ObjectNumbers()
    seen: dict[bytes, Source] = {}
    other_channels: dict[int, list[str]] = defaultdict(list)
    for source, raster in decoded(sources):
        file = source.file or source.name
        if isinstance(raster, ChannelsError):
            other_channels[raster.channels].append(file)
            continue
        wrong = raster if isinstance(raster, Exception) else fault(dataset, raster)
        if wrong is not None or isinstance(raster, Exception):
            found.problems.append(Problem(file, str(wrong)))
            continue
        found.problems += [Problem(file, note, fatal=False) for note in raster.notes]
        twin = seen.setdefault(hashlib.sha256(raster.pixels.tobytes()).digest(), source)
        if twin.split != source.split:
            rule = f"has the same pixels as {twin.file or twin.name} of split {twin.split}"
            found.problems.append(Problem(file, rule, fatal=False))
        _add(parts[source.split], source, raster, dataset)
        orientation.add(raster)
        numbers.add(raster.instances)
    if other_channels:
        right = [case.file for part in parts.values() for case in part.cases]
        found.problems.append(of_other_channels(dataset, other_channels, right))
    types = {kind for part in parts.values() for kind in part.types}
    if "uint8" in types and len(types) > 1:
        rule = f"images of {', '.join(sorted(types))} are mixed, so their scales differ"
        found.problems.append(Problem(dataset.where, rule, fatal=False))
    found.problems = alike(dict.fromkeys(found.problems))  # a volume's, not each of its slices'
    for split in SPLITS:
        found.splits.append(_row(dataset, split, parts[split]))
        found.problems += _absent(dataset, split, parts[split])
        pixels, tiled = parts[split].pixels[1:], parts[split].tiled[1:]
        names = dataset.classes[1:] if pixels else ()
        found.problems += too_few(names, split, dataset.size, pixels, tiled)
    found.problems += suspicions(dataset, {split: part.cases for split, part in parts.items()})
    found.problems += orientation.problems(dataset.where)
    found.problems += numbers.problems(dataset.where)
    found.problems += repeated_edges(dataset, (s for part in parts.values() for s in part.sizes))
    return found


def _add(part: _Part, source: Source, raster: Raster, dataset: Dataset) -> None:
    part.images += 1
    part.groups.add(source.group)
    part.sizes.add((raster.labels.shape[0], raster.labels.shape[1]))
    part.types[raster.pixels.dtype.name] += 1
    classes = len(dataset.classes)
    counts = class_counts(raster.labels, classes)
    part.pixels = [a + int(b) for a, b in zip(part.pixels or [0] * classes, counts, strict=True)]
    tiled = tiled_counts(raster.labels, dataset)
    part.tiled = [a + b for a, b in zip(part.tiled or [0] * classes, tiled, strict=True)]
    part.ignored += raster.labels.size - int(counts.sum())
    part.empty += int(counts[1:].sum() == 0)
    part.cases.append(case_of(source.file or source.name, raster.labels, raster.white))


def _absent(dataset: Dataset, split: str, part: _Part) -> list[Problem]:
    """Classes that no mask of a split has: nothing to learn from, or nothing to score."""
    if part.images == 0:
        return []
    return [
        Problem(split, f"no mask of this split has a pixel of {name}", fatal=split == "train")
        for name, count in zip(dataset.classes[1:], part.pixels[1:], strict=True)
        if count == 0
    ]


def _row(dataset: Dataset, split: str, part: _Part) -> Row:
    shares = [p / max(1, sum(part.pixels)) for p in part.pixels]
    shown = [*zip(dataset.classes[1:], shares[1:], strict=True)] if part.pixels else []
    if part.ignored:
        shown.append(("ignored", part.ignored / (part.ignored + sum(part.pixels))))
    return {
        "name": dataset.title,
        "split": split,
        "images": part.images,
        "groups": len(part.groups),
        "size": _sizes(part.sizes),
        "dtype": ", ".join(sorted(part.types)),
        "prevalence": ", ".join(f"{name} {share:.3f}" for name, share in shown),
        "empty": part.empty,
    }


def _sizes(sizes: set[tuple[int, int]]) -> str:
    """One size, or the range: width x height."""
    if not sizes:
        return "–"
    heights, widths = zip(*sizes, strict=True)
    ends = [(min(sides), max(sides)) for sides in (widths, heights)]
    return " x ".join(str(low) if low == high else f"{low}–{high}" for low, high in ends)
