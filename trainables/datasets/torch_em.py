"""Two-dimensional sets of the package torch_em: its downloads and its lists, our decoding."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from trainables.datasets import DownloadProgress, Located, Problem, Source, check_names
from trainables.decoding.images import SUFFIXES
from trainables.decoding.labels import Legend, check_values, classes_of, ignores
from trainables.decoding.layout import SPLIT_WORDS
from trainables.decoding.pairs import Pair, object_reader, reader, sources
from trainables.decoding.tree import File, in_a_line, stamp_of
from trainables.interfaces.dataset import Split
from trainables.part import require
from trainables.part_fields import later

Paths = Callable[..., Any]
"""``get_NAME_paths`` of torch_em: a folder and options to lists of images and of masks."""


@dataclass(frozen=True)
class TorchEm(Located):
    """A set that torch_em lists as image files (PNG, JPEG, TIFF, BMP) and their masks.

    ``source`` is the name of the set's file in torch_em, such as ``kvasir`` or ``dsb``. ``options``
    are the arguments of its function ``get_NAME_paths`` beside the folder, each as ``name=value``,
    such as ``task=optic_disc``. The set's own splits are taken, unless an option fixes ``split``;
    what is missing is cut off by the names of the images.
    """

    licence: ClassVar[str] = "each set its own, see torch_em.data.datasets"
    citation: ClassVar[str] = "Archit & Pape, torch-em; the work that the set's module names"

    source: str = "kvasir"
    """The name of the set in torch_em."""
    options: tuple[str, ...] = ()
    """Arguments of its reader, as ``name=value``."""
    objects: bool = False
    """The masks hold a number per object, not per class."""
    foreground: tuple[str, ...] = ("foreground",)
    """Names of the classes 1, 2, ...; with ``objects`` one."""
    values: tuple[tuple[int, str], ...] = later(())
    """The class of each number in the masks, as of a folder of images; not with ``foreground``."""
    modalities: int = 3
    """Channels of every image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_values(self.values, foreground=self.foreground == TorchEm.foreground)
        check_names(self.classes)
        require(self.source.isidentifier(), f"source={self.source!r} must be a name")
        require(self.modalities >= 1, f"modalities={self.modalities} must be at least 1")
        for option in self.options:
            name, equals, _ = option.partition("=")
            require(
                bool(equals) and name not in ("path", "download"),
                f"options={list(self.options)}: {option!r} must be NAME=VALUE",
            )
        require(
            not self.objects or (len(self.classes) == 2 and not self.values),
            f"objects=true needs one class of objects, not {list(self.classes[1:])} or values=",
        )

    @property
    def place(self) -> str:
        return str(self.at) or f"torch_em/{self.source}"

    @property
    def classes(self) -> tuple[str, ...]:
        return classes_of(self.values) or ("background", *self.foreground)

    @property
    def ignores(self) -> bool:
        return ignores(self.values)

    @property
    def channels(self) -> int:
        return self.modalities

    def get(self, progress: DownloadProgress) -> str:
        folder = self._folder()
        folder.mkdir(parents=True, exist_ok=True)
        count = sum(len(images) for _, images, _ in self._listed(folder, download=True))
        return f"torch_em lists {count} images"

    def scan(self) -> Iterator[Source | Problem]:
        folder = self._folder()
        if not folder.is_dir():
            self.tree()  # says that there is none
        listed = self._listed(folder, download=False)
        items = [
            item for split, images, masks in listed for item in _pairs(folder, split, images, masks)
        ]
        read = object_reader(self.channels) if self.objects else reader(self.channels, self._legend)
        yield from sources(items, read)

    @property
    def _legend(self) -> Legend:
        return Legend(self.classes, self.values)

    def _folder(self) -> Path:
        if "://" in self.where:
            raise ValueError(f"{self.where}: torch_em reads a directory; set SEGPRINT_DATA or at=")
        return Path(self.where)

    def _listed(
        self, folder: Path, *, download: bool
    ) -> Iterator[tuple[Split | None, Sequence[str], Sequence[str]]]:
        """Yield the images and the masks of each split that torch_em has, or of all.

        Raises:
            FileNotFoundError: torch_em does not find the files, or cannot fetch them.
        """
        function = paths_of(self.source)
        parameters = inspect.signature(function).parameters
        options = {name: _value(text) for name, _, text in (o.partition("=") for o in self.options)}
        for name in options:
            if name not in parameters:
                known = ", ".join(p for p in parameters if p not in ("path", "download"))
                raise ValueError(f"torch_em {self.source} has no option {name} (choices: {known})")
        named = splits_of(function) if "split" not in options else []
        for given, split in named or [(None, None)]:
            chosen = options if given is None else {**options, "split": given}
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    found = function(str(folder), **chosen, download=download)
            except Exception as error:  # of any library that torch_em calls
                raise FileNotFoundError(
                    f"torch_em {self.source}: {in_a_line(error)}; `segprint data get torch_em --set"
                    f" source={self.source}` fetches it"
                ) from error
            images, masks = _two_lists(self.source, found)
            yield split, images, masks


def paths_of(source: str) -> Paths:
    """The function of torch_em that lists the files of a set.

    Raises:
        ValueError: torch_em is not installed, or has no such set.
    """
    try:
        package: Any = importlib.import_module("torch_em.data.datasets")
    except ImportError as error:
        rule = "reads its sets through torch_em: pip install 'segprint[torch-em]'"
        raise ValueError(f"dataset torch_em {rule} ({in_a_line(error)})") from None
    files = list(Path(package.__file__).parent.glob(f"*/{source}.py"))
    if not files:
        raise ValueError(f"torch_em has no set {source!r}: it is the name of a file in {package}")
    module = importlib.import_module(f"{package.__name__}.{files[0].parent.name}.{source}")
    function = getattr(module, f"get_{source}_paths", None)
    if not isinstance(function, types.FunctionType):
        raise ValueError(f"torch_em {source} has no function get_{source}_paths: it is not read")
    return function


def splits_of(function: Paths) -> list[tuple[str, Split]]:
    """The splits that a function of torch_em takes, each with its meaning; empty: none."""
    parameter = inspect.signature(function).parameters.get("split")
    if parameter is None:
        return []
    hints = typing.get_type_hints(function)
    texts = [text for text in _texts(hints.get("split")) if text.lower() in SPLIT_WORDS]
    return [(text, SPLIT_WORDS[text.lower()]) for text in texts]


def _texts(hint: Any) -> list[str]:
    """The texts in a hint such as ``Optional[Literal["train", "test"]]``."""
    parts = typing.get_args(hint)
    return [p for part in parts for p in ([part] if isinstance(part, str) else _texts(part))]


def _value(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _two_lists(source: str, found: Any) -> tuple[list[str], list[str]]:
    """Images and masks, if these are what torch_em lists for a set.

    Raises:
        FileNotFoundError: they are something else, or none.
    """
    pair = cast("tuple[Any, ...]", found if isinstance(found, tuple) else ())
    lists = [cast("list[Any]", part) for part in pair if isinstance(part, list)]
    if len(pair) != 2 or len(lists) != 2 or len(lists[0]) != len(lists[1]) or not lists[0]:
        raise FileNotFoundError(f"torch_em {source} does not list one mask per image")
    images, masks = ([str(path) for path in part] for part in lists)
    other = {Path(p).suffix for p in (*images, *masks)} - set(SUFFIXES)
    other = {suffix for suffix in other if suffix.lower() not in SUFFIXES}
    if other:
        raise FileNotFoundError(
            f"torch_em {source} lists files {', '.join(sorted(other))}, which are not read here;"
            f" read are {', '.join(SUFFIXES)}"
        )
    return images, masks


def _pairs(
    folder: Path, split: Split | None, images: Sequence[str], masks: Sequence[str]
) -> Iterator[Pair]:
    for image, mask in zip(images, masks, strict=True):
        file = _file(folder, image)
        yield Pair(file.path.removesuffix(file.name.suffix), file, _file(folder, mask), split)


def _file(folder: Path, path: str) -> File:
    """A file that torch_em lists, by its path below the folder.

    Raises:
        FileNotFoundError: it is not there.
    """
    place = Path(path)
    status = place.stat()
    below = place.relative_to(folder) if place.is_relative_to(folder) else Path(place.name)
    return File(
        below.as_posix(),
        status.st_size,
        stamp_of(status),
        functools.partial(Path.read_bytes, place),
    )
