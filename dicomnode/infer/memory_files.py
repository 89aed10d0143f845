"""A bundle's files where its own code looks for them, without any of them on a disk.

Reading a path below ``/bundle`` reads the bytes that were hashed; importing ``scripts.x`` imports them. Nothing
can be written there. For bundles that may run their own code, inside the child alone: one bundle per process.
"""

from __future__ import annotations

import builtins
import errno
import importlib.machinery
import io
import linecache
import os
import posixpath
import stat
import sys
from collections.abc import Callable, Iterator
from importlib.abc import InspectLoader, MetaPathFinder
from typing import Any, Final, Self

from dicomnode.infer.configs import Files

ROOT: Final = "/bundle"
READ_ONLY_MODE: Final = 0o444


class MemoryFiles:
    """Serves a bundle from memory while it is installed: as files below ``/bundle``, and as Python packages."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._folders = {folder for name in files for folder in _above(name)}
        self._finder = _Finder(files)
        self._real: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Self:
        """Put the bundle before the file system."""
        for module, name, make in (
            (builtins, "open", self._open), (io, "open", self._open), (os, "stat", self._stat),
            (os, "lstat", self._stat), (os, "listdir", self._listdir), (os, "scandir", self._scandir),
            (os, "mkdir", self._mkdir), (os, "makedirs", self._mkdir), (os, "access", self._access),
        ):
            real = getattr(module, name)
            self._real.append((module, name, real))
            setattr(module, name, make(real))
        sys.meta_path.insert(0, self._finder)
        linecache.cache.update(self._finder.lines())
        return self

    def __exit__(self, *_: object) -> None:
        """Give the file system back; modules of the bundle are forgotten."""
        for module, name, real in reversed(self._real):
            setattr(module, name, real)
        self._real.clear()
        sys.meta_path.remove(self._finder)
        for name in self._finder.lines():
            linecache.cache.pop(name, None)
        for name in [name for name, module in sys.modules.items()
                     if getattr(getattr(module, "__spec__", None), "loader", None) is self._finder]:
            del sys.modules[name]

    def _name(self, path: object) -> str | None:
        """Return the path inside the bundle, "" for its root; None for a path that is not below it."""
        if not isinstance(path, str | os.PathLike):
            return None
        text = os.fspath(path)
        if not isinstance(text, str):
            return None
        plain = posixpath.normpath(text)
        if plain == ROOT:
            return ""
        if plain.startswith(f"{ROOT}/"):
            return plain.removeprefix(f"{ROOT}/")
        return plain if plain in self._files or plain in self._folders - {""} else None

    def _open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: object, mode: str = "r", *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the builtin
            name = self._name(file)
            if name is None:
                return real(file, mode, *args, **kwargs)
            if set(mode) & set("wax+"):
                raise PermissionError(errno.EROFS, "the bundle is read from memory, nothing can be written", file)
            if name not in self._files:
                raise FileNotFoundError(errno.ENOENT, "the bundle has no such file", file)
            raw = io.BytesIO(self._files[name])
            encoding = args[1] if len(args) > 1 else kwargs.get("encoding")
            return raw if "b" in mode else io.TextIOWrapper(raw, encoding=encoding or "utf-8")
        return opened

    def _stat(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def status(path: object, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the original
            name = self._name(path)
            return real(path, *args, **kwargs) if name is None else self._status(name, path)
        return status

    def _status(self, name: str, path: object) -> os.stat_result:
        if name in self._files:
            return os.stat_result((stat.S_IFREG | READ_ONLY_MODE, 0, 0, 1, 0, 0, len(self._files[name]), 0, 0, 0))
        if name in self._folders:
            return os.stat_result((stat.S_IFDIR | READ_ONLY_MODE, 0, 0, 1, 0, 0, 0, 0, 0, 0))
        raise FileNotFoundError(errno.ENOENT, "the bundle has no such file", path)

    def _access(self, real: Callable[..., bool]) -> Callable[..., bool]:
        def allowed(path: object, mode: int, **kwargs: Any) -> bool:  # noqa: ANN401 - as the original
            name = self._name(path)
            if name is None:
                return real(path, mode, **kwargs)
            return not mode & os.W_OK and (name in self._files or name in self._folders)
        return allowed

    def _listdir(self, real: Callable[..., list[str]]) -> Callable[..., list[str]]:
        def listed(path: object = ".") -> list[str]:
            name = self._name(path)
            return real(path) if name is None else self._children(name, path)
        return listed

    def _scandir(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def scanned(path: object = ".") -> Any:  # noqa: ANN401 - as the original
            name = self._name(path)
            if name is None:
                return real(path)
            return _Entries(_Entry(child, posixpath.join(str(path), child),
                                   folder=posixpath.join(name, child) in self._folders)
                            for child in self._children(name, path))
        return scanned

    def _children(self, name: str, path: object) -> list[str]:
        if name not in self._folders:
            raise FileNotFoundError(errno.ENOENT, "the bundle has no such folder", path)
        start = f"{name}/" if name else ""
        below = (one.removeprefix(start) for one in self._files if one.startswith(start))
        return sorted({one.split("/")[0] for one in below})

    def _mkdir(self, real: Callable[..., None]) -> Callable[..., None]:
        """A bundle may wish for a folder for what it would save; there it gets none, and no error."""
        def made(path: object, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the original
            if self._name(path) is None:
                real(path, *args, **kwargs)
        return made


class _Entry:
    """As ``os.DirEntry``."""

    def __init__(self, name: str, path: str, *, folder: bool) -> None:
        self.name, self.path, self._folder = name, path, folder

    def is_dir(self, **_: object) -> bool:
        return self._folder

    def is_file(self, **_: object) -> bool:
        return not self._folder

    def is_symlink(self) -> bool:
        return False


class _Entries:
    """As what ``os.scandir`` returns."""

    def __init__(self, entries: Iterator[_Entry]) -> None:
        self._entries = entries

    def __iter__(self) -> Iterator[_Entry]:
        return self._entries

    def __next__(self) -> _Entry:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held."""


class _Finder(MetaPathFinder, InspectLoader):
    """Imports the bundle's own modules; a folder of them without ``__init__.py`` is a package too."""

    def __init__(self, files: Files) -> None:
        self._files = {name: text for name, text in files.items() if name.endswith(".py")}

    def find_spec(self, fullname: str, _path: object = None, _target: object = None
                  ) -> importlib.machinery.ModuleSpec | None:
        """Return how to import a module of the bundle, None for any other."""
        if fullname in sys.builtin_module_names or self._path(fullname) is None:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=f"{ROOT}/{self._path(fullname)}",
                                              is_package=self.is_package(fullname))
        spec.has_location = True
        return spec

    def is_package(self, fullname: str) -> bool:
        """Whether the module is a folder of modules."""
        return not str(self._path(fullname)).endswith(".py") or str(self._path(fullname)).endswith("/__init__.py")

    def get_source(self, fullname: str) -> str:
        """Return the module's text."""
        return self._files.get(str(self._path(fullname)), b"").decode("utf-8")

    def lines(self) -> dict[str, tuple[int, None, list[str], str]]:
        """Return each module as ``linecache`` keeps it: tracebacks and torch.jit read a module's text there."""
        return {f"{ROOT}/{name}": (len(text), None, text.decode("utf-8").splitlines(keepends=True), f"{ROOT}/{name}")
                for name, text in self._files.items()}

    def _path(self, fullname: str) -> str | None:
        base = fullname.replace(".", "/")
        for name in (f"{base}/__init__.py", f"{base}.py"):
            if name in self._files:
                return name
        return base if any(name.startswith(f"{base}/") for name in self._files) else None


def _above(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts) + 1)]
