"""Loads a user's Python file as a module, with the files in its folder that it imports."""

from __future__ import annotations

import builtins
import hashlib
import sys
import traceback
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stdout
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

PREFIX = "user_"
"""Begins the name of the package of each user's file."""
NEVER_NEIGHBOURS = sys.stdlib_module_names | {
    "orchestrator",
    "trainables",
    "search_spaces",
    "cluster",
}
"""Modules that a file in a user's folder does not replace."""


def load(path: Path, what: str) -> ModuleType:
    """Execute a user's file and return its module; ``what`` names the file in messages.

    Its imports find the files in its own folder first, as those of a script do. Each file has a
    package of its own, so that files of the same name in two folders are two modules. What it
    prints goes to stderr, each warning is one line, and the working directory is restored.

    Raises:
        ValueError: the file raises an exception or exits; one line with the number of the line.
        KeyboardInterrupt: it is interrupted; one line too.
    """
    package = _Package(path.expanduser().absolute(), what)
    package.register()
    try:
        with _contained(package):
            return package.execute()
    except BaseException as error:
        package.remove()
        kind = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ValueError
        raise kind(package.explained(error)) from error


def explained(error: BaseException) -> str | None:
    """Return an error that passed through code of a user's file as one line with its position.

    None if it passed through no such file.
    """
    package = _passed(error)
    return None if package is None else package.explained(error)


def position(error: BaseException) -> str | None:
    """Return the position in a user's file that an error passed last; None without one."""
    package = _passed(error)
    return None if package is None else f"{package.what}{package.line_of(error)}"


def _passed(error: BaseException) -> _Package | None:
    """Return the package of a user's file whose code an error passed last."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    packages = [module for module in sys.modules.values() if isinstance(module, _Package)]
    ran = ((file, package) for file in reversed(files) for package in packages)
    return next((package for file, package in ran if Path(file) in package.sources), None)


def executed() -> set[Path]:
    """Return all users' files that are loaded, and the neighbours that they imported."""
    packages = [module for module in sys.modules.values() if isinstance(module, _Package)]
    return {file for package in packages for file in package.sources}


def content(module: ModuleType) -> bytes:
    """Return the source of a module; after a user's one the hashes of the neighbours it imported.

    No further neighbours of a user's file can be imported after it.
    """
    package = sys.modules.get(module.__name__.partition(".")[0])
    if not isinstance(package, _Package):
        return Path(str(module.__file__)).read_bytes()
    package.is_hashed = True
    sources = dict(package.sources)
    main = sources.pop(package.file)
    hashes = {
        file.relative_to(package.file.parent).as_posix(): hashlib.sha256(source).hexdigest()
        for file, source in sorted(sources.items())
    }
    return main + "".join(f"\0{name}\0{value}" for name, value in hashes.items()).encode()


@contextmanager
def _contained(package: _Package) -> Generator[None]:
    """Keep standard output and the working directory free of what a file does."""

    def one_line(
        message: Warning | str, category: type[Warning], name: str, line: int, *_: Any
    ) -> None:
        where = f"{package.what}{package.at(Path(name), line)}"
        text = " ".join(f"segprint: {where}: {category.__name__}: {message}".split())
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        print(shown, file=sys.stderr)

    before, warnings.showwarning = warnings.showwarning, one_line
    try:
        with chdir("."), redirect_stdout(sys.stderr):
            yield
    finally:
        warnings.showwarning = before


class _Package(ModuleType):
    """The package of one user's file; the file and its neighbours are its submodules."""

    def __init__(self, file: Path, what: str) -> None:
        super().__init__(f"{PREFIX}{hashlib.sha256(str(file).encode()).hexdigest()[:8]}")
        self.__path__ = [str(file.parent)]
        self.file = file
        self.what = what
        """The file in messages."""
        self.sources: dict[Path, bytes] = {}
        """The executed files, with the content that was executed."""
        self.is_hashed = False
        """Whether :func:`content` has been read, so that no further neighbour may be imported."""
        self.builtins = {**vars(builtins), "__import__": self._import}
        self._is_neighbour: dict[str, bool] = {}

    def register(self) -> None:
        """Add the package to the imported modules, without those of an earlier load."""
        self.remove()
        sys.modules[self.__name__] = self
        if _Finder not in sys.meta_path:
            sys.meta_path.insert(0, _Finder)
        for folder in self.__path__:  # Python caches the names of a folder's files
            sys.path_importer_cache.pop(folder, None)

    def remove(self) -> None:
        """Remove the package and its submodules from the imported modules."""
        for name in [n for n in sys.modules if n.partition(".")[0] == self.__name__]:
            del sys.modules[name]

    def execute(self) -> ModuleType:
        """Execute the file and return its module."""
        name = f"{self.__name__}.{self.file.stem}"
        spec = spec_from_file_location(name, self.file, loader=_Source(name, str(self.file)))
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look up annotations here
        spec.loader.exec_module(module)
        return module

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import a module for a file of this package, which finds its neighbours first."""
        head = name.partition(".")[0]
        neighbour = f"{self.__name__}.{head}"
        importer = (globals or {}).get("__name__")  # timm.py imports the library of its name
        if level or importer == neighbour or not self._has(head):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = builtins.__import__(f"{self.__name__}.{name}", globals, locals, fromlist or ())
        return module if fromlist else sys.modules[neighbour]

    def _has(self, head: str) -> bool:
        """Return whether a module of this name is a neighbour of the file."""
        if head in NEVER_NEIGHBOURS:
            return False
        if head not in self._is_neighbour:
            spec = _Finder.find_spec(f"{self.__name__}.{head}", self.__path__)
            # A folder without __init__.py comes after all modules and packages, as in Python.
            self._is_neighbour[head] = spec is not None and (
                spec.origin is not None or getattr(find_spec(head), "origin", None) is None
            )
        return self._is_neighbour[head]

    def at(self, file: Path, line: int | None) -> str:
        """Return a position as the part of a message after the name of the user's file."""
        if line is None:
            return ""
        return f", line {line}" if file == self.file else f" ({file}, line {line})"

    def explained(self, error: BaseException) -> str:
        """Return an error that the file raised as one line with its position."""
        return f"{self.what}{self.line_of(error)}: {self.text_of(error)}"

    def line_of(self, error: BaseException) -> str:
        """Return the position of the last line of this package that an error passed."""
        positions: list[tuple[Path, int | None]] = [
            (Path(frame.f_code.co_filename), line)
            for frame, line in traceback.walk_tb(error.__traceback__)
        ]
        if isinstance(error, SyntaxError) and error.filename is not None:
            positions.append((Path(error.filename), error.lineno))
        return next((self.at(*p) for p in reversed(positions) if p[0] in self.sources), "")

    def text_of(self, error: BaseException) -> str:
        """Return the type and the message of an error as one line."""
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        text = " ".join(message.replace(f"{self.__name__}.", "").split())
        return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _Source(SourceFileLoader):
    """Executes a file of a user's package from its source; no compiled copy is used or written.

    Python recognises an outdated copy by its size and by the second of the last change. A file that
    is edited twice within a second would be executed in its earlier version.
    """

    def get_code(self, fullname: str) -> CodeType:
        package = sys.modules[fullname.partition(".")[0]]
        assert isinstance(package, _Package)
        if package.is_hashed:
            raise ImportError(
                f"{Path(self.path).name} must be imported at the top of {package.file.name}, in"
                " whose hash it enters"
            )
        source = self.get_data(self.path)
        package.sources[Path(self.path)] = source
        return compile(source, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        package = sys.modules[module.__name__.partition(".")[0]]
        assert isinstance(package, _Package)
        vars(module)["__builtins__"] = package.builtins
        super().exec_module(module)


class _Finder:
    """Finds the source files and folders that are submodules of the packages of users' files."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of a submodule; None: another finder is in charge."""
        package = sys.modules.get(fullname.partition(".")[0])
        if not isinstance(package, _Package):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Source(spec.loader.name, spec.loader.path)
        return spec
