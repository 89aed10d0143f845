"""The spool of one node: every durable byte that is not in the database."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Container, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from dicomnode.spool import arrivals, held, slots, store
from dicomnode.spool.arrivals import Arrival, ArrivalFolder
from dicomnode.spool.disk import disk_errors, make_folder, sync_folder, write_durably
from dicomnode.spool.held import Held
from dicomnode.spool.slots import Slot

FOLDERS: Final = ("arrivals", "store", "events", "quarantine", "results", "slots", "tmp")
REASON: Final = ".reason.txt"
LEFTOVER_AGE_S: Final = 3600.0
"""A temporary file this old belongs to a process that died: making one takes milliseconds. A result folder younger
than this may belong to a claim that was made after ``keep`` was read."""


class Spool:
    """Bytes on disk below ``root``; whatever it reports as done survives a power cut.

    Parameters
    ----------
    min_free_bytes:
        The disk floor: with less than this free, nothing new is taken.

    Notes
    -----
    Every method raises SpoolFull or SpoolUnavailable for what the disk refuses. Several processes, on several
    machines over one file system with locks, may share a spool.
    """

    def __init__(self, root: Path, *, min_free_bytes: int) -> None:
        self.root = root
        self.min_free_bytes = min_free_bytes

    def prepare(self) -> None:
        """Make the folders; a second call changes nothing."""
        with disk_errors(self.root):
            for name in FOLDERS:
                make_folder(self.root / name)

    def free_bytes(self) -> int:
        """Bytes that an ordinary process may still write."""
        with disk_errors(self.root):
            disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize

    def is_read_only(self) -> bool:
        """Whether the file system takes nothing: a failing disk is often mounted so by the kernel."""
        with disk_errors(self.root):
            return bool(os.statvfs(self.root).f_flag & os.ST_RDONLY)

    def take_slot(self, name: str, limit: int) -> Slot | None:
        """Return one of ``limit`` places that all processes share, or None when all are held."""
        with disk_errors(self.root):
            return slots.take(self.root / "slots", name, limit)

    def take_turn(self, name: str, per_s: float) -> float:
        """Return how many seconds to wait so that all processes together go on ``per_s`` times a second."""
        with disk_errors(self.root):
            return slots.take_turn(self.root / "slots", name, 1.0 / per_s, now_s=time.time())

    # arrivals

    def open_association(self, name: str) -> ArrivalFolder:
        """Return the locked folder of a new association; ``name`` is unique among all receivers."""
        return ArrivalFolder(self.root / "arrivals", self.root / "tmp", name, min_free_bytes=self.min_free_bytes)

    def arrivals(self, skip: Container[Path] = ()) -> Iterator[Arrival]:
        """Every acknowledged file that is not yet unlinked, oldest first.

        Parameters
        ----------
        skip:
            Files that are passed over, not even looked at: a disk that can neither read nor move one file does not
            hold up the others.
        """
        with disk_errors(self.root):
            return iter(arrivals.scan(self.root / "arrivals", skip))

    def open_associations(self) -> frozenset[str]:
        """Names of the associations that have sent an image and are still open."""
        with disk_errors(self.root):
            return arrivals.open_names(self.root / "arrivals")

    def mark_fed(self, association: str, study_uid: str) -> None:
        """Remember that an association has sent images of a study: it outlives the keeper, not the association."""
        with disk_errors(self.root):
            arrivals.mark_fed(self.root / "arrivals", association, study_uid)

    def fed_studies(self) -> frozenset[str]:
        """The studies to which an association that is still open has sent images."""
        with disk_errors(self.root):
            return arrivals.fed_studies(self.root / "arrivals")

    def unlink_arrival(self, arrival: Path) -> None:
        """Forget an arrival whose link and row are durable; one that is gone already is no error."""
        with disk_errors(arrival):
            arrival.unlink(missing_ok=True)

    def sweep_arrivals(self) -> int:
        """Remove what died unacknowledged, and the empty folders of closed associations; count the files."""
        with disk_errors(self.root):
            return arrivals.sweep(self.root / "arrivals") + self._sweep_temporary()

    def _sweep_temporary(self) -> int:
        too_old_s = time.time() - LEFTOVER_AGE_S
        leftovers = [file for file in (self.root / "tmp").iterdir() if file.lstat().st_mtime < too_old_s]
        for file in leftovers:
            file.unlink(missing_ok=True)
        return len(leftovers)

    # store

    def store_path(self, relative: str) -> Path:
        """Where an indexed file lies; ``relative`` as in the index."""
        return store.inside(self.root / "store", relative)

    def link_into_store(self, arrival: Path, relative: str) -> None:
        """The arrival has a second, durable name in the store; doing it again changes nothing.

        Raises
        ------
        FileExistsError
            The name belongs to a file with other bytes.
        """
        self.link_all_into_store([(arrival, relative)])

    def link_all_into_store(self, pairs: Iterable[tuple[Path, str]]) -> None:
        """As ``link_into_store`` for a batch: each folder is fsynced once.

        Raises
        ------
        FileExistsError
            As above; pairs before it are linked, and linking them again is allowed.
        """
        with disk_errors(self.root):
            store.link(self.root / "store", pairs)

    def remove_study(self, relative: str) -> int:
        """Delete a study's folder (retention); return the bytes freed."""
        folder = self.store_path(relative)
        with disk_errors(folder):
            return store.remove_tree(folder)

    # quarantine

    def quarantine(self, arrival: Path, reason: str) -> Path:
        """Keep what cannot be indexed, its reason beside it; return where it lies now."""
        folder = self.root / "quarantine"
        kept = folder / f"{arrival.parent.name}-{arrival.name}"
        with disk_errors(arrival):
            temporary = self.root / "tmp" / uuid.uuid4().hex
            write_durably(temporary, folder / (kept.name + REASON), [reason.encode()])
            arrival.rename(kept)
            sync_folder(folder)
            sync_folder(arrival.parent)
        return kept

    def quarantined(self) -> int:
        """How many files lie in quarantine."""
        with disk_errors(self.root):
            return sum(1 for file in (self.root / "quarantine").iterdir() if not file.name.endswith(REASON))

    # results

    def result_folder(self, job_id: int, token: str) -> Path:
        """The folder of one claim of one job, ``results/<job>/<token>``: a retry never meets its own half."""
        folder = store.inside(self.root / "results", f"{job_id}/{token}")
        with disk_errors(folder):
            make_folder(folder)
        return folder

    def put_result(self, folder: Path, name: str, payload: bytes) -> str:
        """Write one encoded object into a claim's folder, durably; return its path below ``results``."""
        path = folder / name
        with disk_errors(path):
            write_durably(self.root / "tmp" / uuid.uuid4().hex, path, [payload])
        return path.relative_to(self.root / "results").as_posix()

    def result_path(self, relative: str) -> Path:
        """Where a result lies; ``relative`` as in the ledger."""
        return store.inside(self.root / "results", relative)

    def sweep_results(self, keep: Container[str]) -> int:
        """Remove the result folders whose ``"<job>/<token>"`` is not in ``keep``; count them.

        ``keep`` holds those of completed jobs and of every claim that is still alive. A folder that changed within
        the last hour stays: its claim may be younger than ``keep``.
        """
        with disk_errors(self.root):
            return store.sweep_results(self.root / "results", keep, older_than_s=time.time() - LEFTOVER_AGE_S)

    # events

    def put_event(self, kind: str, payload: bytes) -> None:
        """Keep a message for the keeper, durable before this returns; ``kind`` ends the file's name."""
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}.{kind}"
        with disk_errors(self.root):
            write_durably(self.root / "tmp" / name, self.root / "events" / name, [payload])

    def events(self, kind: str = "*") -> Iterator[Path]:
        """The kept messages of a kind, oldest first; who has applied one unlinks it."""
        with disk_errors(self.root):
            return iter(sorted((self.root / "events").glob(f"*.{kind}")))

    def due_events(self, kind: str, now_s: float) -> Iterator[Path]:
        """As ``events``, without those that were put off until after ``now_s``, in seconds since the epoch."""
        return (path for path in self.events(kind) if held.is_due(path, now_s))

    def read_events(self, kind: str) -> list[tuple[float, bytes]]:
        """When each message of a kind was kept, in seconds since the epoch, and the message; oldest first."""
        return [(held.kept_s(path), payload) for path in self.events(kind)
                if (payload := held.payload(path)) is not None]

    def hold_event(self, path: Path, now_s: float) -> AbstractContextManager[Held | None]:
        """Hold a due message inside the block; None where another process is faster."""
        return held.take(path, self.root / "tmp", now_s)
