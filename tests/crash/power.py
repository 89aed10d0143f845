"""A power cut: what no fsync has made durable is taken away, as the worst disk may (POSIX promises no more).

A kill alone proves nothing about fsync, for the kernel keeps what a dead process wrote. So each role notes in a journal
what it writes, names and syncs below a folder; after the kill, bytes written since a file's last fsync go, and so do
names given since their folder's last fsync. Removed names stay removed. The database's own files are not touched: that
it keeps what it has committed is SQLite's and PostgreSQL's promise.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

CREATE, WRITE, MOVE, SYNC, SYNCED = "create", "write", "move", "sync", "synced"


class Recorder:
    """Wraps what this process does with files below ``root``, which itself counts as durable.

    Each line is in the journal before the deed is done.
    """

    def __init__(self, root: Path, journal: Path) -> None:
        self._root = str(root)
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._paths: dict[int, str] = {}
        self._numbers = count()
        self._write = os.write
        for name, wrap in (("open", self._opening), ("write", self._writing), ("fsync", self._syncing),
                           ("rename", self._moving), ("replace", self._moving), ("link", self._linking),
                           ("mkdir", self._making), ("close", self._closing)):
            real = getattr(os, name)
            setattr(os, name, functools.wraps(real)(functools.partial(wrap, real)))

    def _note(self, *words: object) -> None:
        self._write(self._journal, f"{json.dumps(words)}\n".encode())

    def _ours(self, path: Any, folder: int | None = None) -> str | None:
        if isinstance(path, int):
            return None
        whole = str(Path(self._paths.get(folder, ""), path) if folder is not None else path)
        return whole if f"{whole}/".startswith(f"{self._root}/") else None

    def _opening(self, real: Callable[..., int], path: Any, flags: int, *more: Any, **named: Any) -> int:
        ours = self._ours(path, named.get("dir_fd"))
        if ours and flags & os.O_CREAT and not os.path.lexists(ours):
            self._note(CREATE, ours)
        fd = real(path, flags, *more, **named)
        if ours:
            self._paths[fd] = ours
        return fd

    def _writing(self, real: Callable[..., int], fd: int, data: Any) -> int:
        if fd in self._paths:
            self._note(WRITE, os.fstat(fd).st_ino)
        return real(fd, data)

    def _syncing(self, real: Callable[..., None], fd: int) -> None:
        number = f"{os.getpid()}.{next(self._numbers)}"
        if fd in self._paths:
            self._note(SYNC, number, os.fstat(fd).st_ino, self._paths[fd])
        real(fd)
        if fd in self._paths:
            self._note(SYNCED, number)

    def _moving(self, real: Callable[..., None], source: Any, target: Any, **named: Any) -> None:
        ours = self._ours(source, named.get("src_dir_fd")), self._ours(target, named.get("dst_dir_fd"))
        if all(ours):
            self._note(MOVE, *ours)
        real(source, target, **named)

    def _linking(self, real: Callable[..., None], source: Any, target: Any, **named: Any) -> None:
        ours = self._ours(target)
        if ours and not os.path.lexists(ours):
            self._note(CREATE, ours)
        real(source, target, **named)

    def _making(self, real: Callable[..., None], path: Any, *more: Any, **named: Any) -> None:
        ours = self._ours(path, named.get("dir_fd"))
        if ours and ours != self._root and not os.path.lexists(ours):
            self._note(CREATE, ours)
        real(path, *more, **named)

    def _closing(self, real: Callable[..., None], fd: int) -> None:
        self._paths.pop(fd, None)
        real(fd)


@dataclass
class _Disk:
    """What a power cut would take."""

    unwritten: set[int] = field(default_factory=set)
    unnamed: dict[str, str] = field(default_factory=dict)  # path → where it was before, empty where it was not
    syncing: dict[str, tuple[int, set[str]]] = field(default_factory=dict)

    def apply(self, what: str, *words: Any) -> None:
        if what == WRITE:
            self.unwritten.add(words[0])
        elif what == CREATE:
            self.unnamed[words[0]] = ""
        elif what == MOVE:
            self.unnamed[words[1]] = words[0]
        elif what == SYNC:
            number, inode, path = words
            self.syncing[number] = inode, {one for one in self.unnamed if one.rpartition("/")[0] == path}
        elif words[0] in self.syncing:
            inode, names = self.syncing.pop(words[0])
            self.unwritten.discard(inode)
            for name in names:
                self.unnamed.pop(name, None)


def cut(root: Path, journal: Path) -> int:
    """Take from ``root`` what was not durable when everything died; return how many names and contents went."""
    disk = _Disk()
    for line in _lines(journal):
        disk.apply(*line)
    journal.unlink(missing_ok=True)
    lost = 0
    for path, before in reversed(disk.unnamed.items()):
        if os.path.lexists(path):
            lost += 1
            _unname(Path(path), before)
    for file in (one for one in root.rglob("*") if one.is_file() and one.stat().st_ino in disk.unwritten):
        os.truncate(file, 0)
        lost += 1
    return lost


def _unname(path: Path, before: str) -> None:
    if before:
        with suppress(FileNotFoundError):  # the folder that it came from is gone as well
            path.rename(before)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _lines(journal: Path) -> Iterator[list[Any]]:
    if journal.exists():
        for line in journal.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # the last one, where death came in the middle of it
                yield json.loads(line)
