"""Indexed files: hard links of arrivals, one folder per study, deleted only by retention."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Container, Iterable
from contextlib import suppress
from pathlib import Path

from dicomnode.spool.disk import make_folder, sync_folder


def inside(root: Path, relative: str) -> Path:
    """A relative path names something below ``root``, never ``root`` itself nor anything outside it.

    Raises
    ------
    ValueError
        If ``relative`` is empty, absolute or climbs with ``..``.
    """
    parts = Path(relative).parts
    if not parts or Path(relative).is_absolute() or ".." in parts:
        msg = f"not a path below {root}: {relative!r}; allowed are relative paths without '..'"
        raise ValueError(msg)
    return root.joinpath(*parts)


def link(root: Path, pairs: Iterable[tuple[Path, str]]) -> None:
    """Every arrival has its name in the store, and then each touched folder is fsynced once.

    Raises
    ------
    FileExistsError
        The name belongs to a file with other bytes: the caller chooses the name of a copy.
    """
    touched = {_link_one(arrival, inside(root, relative)) for arrival, relative in pairs}
    for folder in sorted(touched):
        sync_folder(folder)


def _link_one(arrival: Path, target: Path) -> Path:
    make_folder(target.parent)
    try:
        os.link(arrival, target)
    except FileExistsError:
        if not (target.samefile(arrival) or filecmp.cmp(target, arrival, shallow=False)):
            raise
    return target.parent


def remove_tree(folder: Path) -> int:
    """Delete a folder; return the bytes that this gave back (a file with another name gives none)."""
    if not folder.is_dir():
        return 0
    freed = 0
    for file in folder.rglob("*"):
        status = file.lstat()
        if file.is_file() and status.st_nlink == 1:
            freed += status.st_blocks * 512
    shutil.rmtree(folder)
    sync_folder(folder.parent)
    with suppress(OSError):  # other studies share the prefix
        folder.parent.rmdir()
    return freed


def sweep_results(root: Path, keep: Container[str], *, older_than_s: float) -> int:
    """Remove every ``<job>/<token>`` folder that ``keep`` lacks and that last changed before ``older_than_s``.

    Parameters
    ----------
    older_than_s:
        Seconds since the epoch.

    Returns
    -------
    int
        How many were removed.
    """
    removed = 0
    for job in sorted(root.iterdir()):
        job_is_old = job.stat().st_mtime < older_than_s
        for attempt in sorted(job.iterdir()):
            if f"{job.name}/{attempt.name}" not in keep and attempt.stat().st_mtime < older_than_s:
                shutil.rmtree(attempt)
                removed += 1
        if job_is_old:
            with suppress(OSError):  # attempts that stay are inside
                job.rmdir()
    return removed
