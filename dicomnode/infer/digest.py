"""Digest of a bundle: what an administrator pins, and what is checked before anything of it is parsed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 1 << 20
IGNORED_FOLDERS: Final = frozenset({"__pycache__", ".git"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleCopy:
    """The bytes of a bundle as they were when they were hashed.

    Parameters
    ----------
    memory:
        Path inside the bundle → file descriptor of a memory file; the caller closes it.
    """

    digest: str
    memory: dict[str, int]

    def close(self) -> None:
        """Give the memory back."""
        for fd in self.memory.values():
            os.close(fd)
        self.memory.clear()


def bundle_files(folder: Path) -> tuple[str, ...]:
    """Return the POSIX paths of every file of a bundle, relative to it and sorted."""
    found = (path for path in folder.rglob("*") if path.is_file())
    relative = (path.relative_to(folder) for path in found)
    return tuple(sorted(path.as_posix() for path in relative if not IGNORED_FOLDERS & set(path.parts)))


def bundle_digest(folder: Path) -> str:
    r"""Return ``sha256:`` over the sorted lines ``<path>\0<sha256>\n`` of every file below ``folder``.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    return _combine((path, _hash_file(folder / path, None)) for path in bundle_files(folder))


def copy_bundle(folder: Path, wanted: Callable[[str], bool]) -> BundleCopy:
    """Hash every file of a bundle and keep the wanted ones in memory: each byte is read once.

    Whoever parses the memory parses what was hashed, whatever happens to the folder meanwhile.
    """
    copy = BundleCopy(digest="", memory={})
    lines = []
    try:
        for path in bundle_files(folder):
            if wanted(path):
                copy.memory[path] = os.memfd_create("bundle", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            lines.append((path, _hash_file(folder / path, copy.memory.get(path))))
    except BaseException:
        copy.close()
        raise
    return BundleCopy(digest=_combine(lines), memory=copy.memory)


def _combine(lines: Iterable[tuple[str, str]]) -> str:
    total = hashlib.sha256()
    for path, digest in lines:
        total.update(f"{path}\0{digest}\n".encode(errors="surrogateescape"))
    return f"sha256:{total.hexdigest()}"


def _hash_file(path: Path, keep_fd: int | None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if keep_fd is not None:
                _write_all(keep_fd, chunk)
    return digest.hexdigest()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]
