"""A bundle from a zip or a folder into a folder of our own: every path checked, nothing followed, sizes bounded."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from dicomnode.errors import UnusableBundle

MOST_BYTES: Final = 16 << 30
"""Largest bundle that is taken, unpacked; the Model Zoo's largest are below 2 GB."""
MOST_FILES: Final = 5000
CHUNK_BYTES: Final = 1 << 20
NEVER_WANTED: Final = frozenset({"__pycache__", ".git", "__MACOSX", ".DS_Store"})
"""Left behind by version control, interpreters and file managers: no part of a bundle."""
CONFIG_NAMES: Final = ("inference.json", "inference.yaml", "inference.yml", "metadata.json")
ARCHIVE_ERRORS: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, RuntimeError)
"""What ``zipfile`` raises on archives that are damaged, encrypted or packed by unknown means."""


def unpack(archive: Path, into: Path, *, most_bytes: int = MOST_BYTES) -> Path:
    """Unpack a zip below ``into`` and return the bundle's folder there.

    Every entry is checked before the first is written.

    Raises
    ------
    UnusableBundle
        If it is no readable zip, holds no bundle, is too large, or an entry is a link, a device, encrypted, twice
        there, or would lie outside.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            entries = _checked(file.infolist(), archive.name, most_bytes)
            for entry, path in entries:
                target = into / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open(entry) as source, target.open("xb") as out:
                    shutil.copyfileobj(source, out, CHUNK_BYTES)
    except ARCHIVE_ERRORS as error:
        msg = f"{archive.name}: not a readable zip archive: {error}"
        raise UnusableBundle(msg) from error
    except (FileExistsError, NotADirectoryError) as error:
        msg = f"{archive.name}: the same path stands for a file and a folder; nothing was added"
        raise UnusableBundle(msg) from error
    return bundle_root(into, archive.name)


def copy_folder(source: Path, into: Path, *, most_bytes: int = MOST_BYTES) -> Path:
    """Copy a folder to ``into/<its name>`` and return the bundle's folder there.

    Raises
    ------
    UnusableBundle
        If it holds no bundle, is too large, or anything in it is neither file nor folder.
    """
    target = into / source.name
    copied = files = 0
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(set(folders) - NEVER_WANTED)
        for name in (*folders, *(set(names) - NEVER_WANTED)):
            _refuse_special(Path(folder) / name)
        for name in sorted(set(names) - NEVER_WANTED):
            path = Path(folder) / name
            files, copied = files + 1, copied + path.stat().st_size
            _refuse_too_much(files, copied, most_bytes, str(source))
            inside = target / path.relative_to(source)
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, inside, follow_symlinks=False)
    return bundle_root(target if target.is_dir() else into, str(source))


def bundle_root(folder: Path, name: str) -> Path:
    """Return the folder that has ``configs/``: this one, or the only one in it.

    Raises
    ------
    UnusableBundle
        If there is none.
    """
    for candidate in (folder, *_only_folder(folder)):
        if any((candidate / "configs" / config).is_file() for config in CONFIG_NAMES):
            return candidate
    held = sorted(path.name for path in folder.iterdir())[:10] if folder.is_dir() else []
    msg = (f"{name}: no bundle in it: expected is configs/inference.json (or .yaml), at the top or in the one folder "
           f"there; it holds {', '.join(held) or 'nothing'}")
    raise UnusableBundle(msg)


def _only_folder(folder: Path) -> Iterable[Path]:
    inside = list(folder.iterdir()) if folder.is_dir() else []
    return inside if len(inside) == 1 and inside[0].is_dir() else ()


def _checked(entries: Iterable[zipfile.ZipInfo], name: str, most_bytes: int) -> list[tuple[zipfile.ZipInfo, Path]]:
    kept: dict[Path, zipfile.ZipInfo] = {}
    total = 0
    for entry in entries:
        path = _safe_path(entry, name)
        if entry.is_dir() or NEVER_WANTED & set(path.parts):
            continue
        if path in kept:
            msg = f"{name}: {entry.filename!r} is in it twice; nothing was added"
            raise UnusableBundle(msg)
        kept[path], total = entry, total + entry.file_size
        _refuse_too_much(len(kept), total, most_bytes, name)
    return [(entry, path) for path, entry in kept.items()]


def _safe_path(entry: zipfile.ZipInfo, name: str) -> Path:
    path = PurePosixPath(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        problem = "is a link or a device"
    elif entry.flag_bits & 1:
        problem = "is encrypted"
    elif path.is_absolute() or ".." in path.parts or not path.parts:
        problem = "would lie outside the bundle"
    elif "\\" in entry.filename or not entry.filename.isprintable() or ":" in path.parts[0]:
        problem = "has a name that is no plain path"
    else:
        return Path(path)
    msg = f"{name}: {entry.filename!r} {problem}; allowed are plain files below one folder; nothing was added"
    raise UnusableBundle(msg)


def _refuse_special(path: Path) -> None:
    mode = path.lstat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        msg = f"{path}: a link or a device; allowed are files and folders: replace it by what it stands for"
        raise UnusableBundle(msg)


def _refuse_too_much(files: int, total_bytes: int, most_bytes: int, name: str) -> None:
    if files > MOST_FILES or total_bytes > most_bytes:
        msg = (f"{name}: more than {MOST_FILES} files or {most_bytes / (1 << 30):.3g} GB unpacked; "
               "no bundle is that large, nothing was added")
        raise UnusableBundle(msg)
