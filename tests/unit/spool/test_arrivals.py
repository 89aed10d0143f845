from __future__ import annotations

import errno
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicomnode.errors import SpoolFull, SpoolUnavailable
from dicomnode.spool import Spool
from dicomnode.spool.disk import disk_errors

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from dicomnode.spool import Spool
folder = Spool(Path(sys.argv[1]), min_free_bytes=0).open_association("dying")
folder.put([b"acknowledged"])
folder.begin().write(b"half an ima")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool", min_free_bytes=0)
    made.prepare()
    return made


def test_prepare_makes_every_folder_and_may_be_called_again(spool: Spool):
    spool.prepare()
    names = {path.name for path in spool.root.iterdir()}
    assert names == {"arrivals", "store", "events", "quarantine", "results", "slots", "tmp"}


def test_a_put_file_holds_its_parts_in_order_under_its_final_name(spool: Spool):
    with spool.open_association("a") as folder:
        first = folder.put([b"one ", memoryview(b"two")])
        second = folder.put([b"three"])
    assert first.read_bytes() == b"one two"
    assert [first.name, second.name] == ["000001.dcm", "000002.dcm"]
    assert [path.name for path in first.parent.iterdir() if path.suffix != ".dcm"] == []


def test_the_file_is_synced_before_it_is_renamed_and_its_folder_after(spool: Spool, monkeypatch: pytest.MonkeyPatch):
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(fd: int) -> None:
        steps.append(f"fsync {Path(f'/proc/self/fd/{fd}').readlink().name}")
        fsync(fd)

    def noted_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append(f"rename {source} {target}")
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    with spool.open_association("a") as folder:
        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(os, "rename", noted_rename)
        folder.put([b"image"])
    assert steps == ["fsync 000001.part", "rename 000001.part 000001.dcm", "fsync a"]


def test_a_discarded_file_leaves_nothing(spool: Spool):
    with spool.open_association("a") as folder:
        incoming = folder.begin()
        incoming.write(b"half")
        incoming.discard()
        assert list((spool.root / "arrivals" / "a").iterdir()) == []


def test_below_the_disk_floor_nothing_new_is_taken(tmp_path: Path):
    spool = Spool(tmp_path, min_free_bytes=1 << 60)
    spool.prepare()
    with spool.open_association("a") as folder, pytest.raises(SpoolFull, match="min_free_gb"):
        folder.put([b"image"])
    assert list(spool.arrivals()) == []


def test_a_full_device_is_spool_full_and_its_half_is_removed(spool: Spool, monkeypatch: pytest.MonkeyPatch):
    def full(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with spool.open_association("a") as folder:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(SpoolFull, match="disk below data_dir is full"):
            folder.put([b"image"])
        monkeypatch.undo()
    assert list((spool.root / "arrivals" / "a").iterdir()) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.ENOENT])
def test_any_other_disk_error_is_spool_unavailable(number: int):
    with pytest.raises(SpoolUnavailable, match="check the disk"), disk_errors(Path("/spool")):
        raise OSError(number, os.strerror(number))


def test_a_failed_sync_is_no_acknowledgement(spool: Spool, monkeypatch: pytest.MonkeyPatch):
    def failing(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with spool.open_association("a") as folder:
        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(SpoolUnavailable):
            folder.put([b"image"])
        monkeypatch.undo()
    assert list(spool.arrivals()) == []


def test_a_short_write_is_continued(spool: Spool, monkeypatch: pytest.MonkeyPatch):
    write = os.write
    with spool.open_association("a") as folder:
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, memoryview(data)[:3]))
        path = folder.put([b"0123456789"])
        monkeypatch.undo()
    assert path.read_bytes() == b"0123456789"


def test_arrivals_come_oldest_first_over_all_associations(spool: Spool):
    with spool.open_association("b") as later, spool.open_association("a") as earlier:
        paths = [earlier.put([b"1"]), later.put([b"2"]), earlier.put([b"3"])]
        for second, path in enumerate(reversed(paths)):
            os.utime(path, (1_700_000_000 + second, 1_700_000_000 + second))
        found = list(spool.arrivals())
    assert [arrival.path for arrival in found] == paths[::-1]
    assert found[0].arrived_at == datetime.fromtimestamp(1_700_000_000, tz=UTC)
    assert [arrival.association for arrival in found] == ["a", "b", "a"]


def test_an_arrival_says_whether_its_association_is_still_open(spool: Spool):
    folder = spool.open_association("a")
    folder.put([b"1"])
    assert [arrival.association_open for arrival in spool.arrivals()] == [True]
    assert spool.open_associations() == {"a"}
    folder.close()
    folder.close()
    assert [arrival.association_open for arrival in spool.arrivals()] == [False]
    assert spool.open_associations() == frozenset()


def test_two_associations_never_share_a_name(spool: Spool):
    with spool.open_association("a"), pytest.raises(FileExistsError):
        spool.open_association("a")
    assert list((spool.root / "tmp").iterdir()) == []


def test_a_killed_receiver_leaves_its_acknowledged_image_and_a_leftover_that_is_swept(spool: Spool):
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(spool.root)], check=False)
    assert killed.returncode == -9
    assert [arrival.path.read_bytes() for arrival in spool.arrivals()] == [b"acknowledged"]
    assert spool.open_associations() == frozenset()
    assert spool.sweep_arrivals() == 1
    assert [path.name for path in (spool.root / "arrivals" / "dying").iterdir()] == ["000001.dcm"]


def test_sweep_leaves_open_associations_and_waiting_arrivals_alone(spool: Spool):
    with spool.open_association("open") as folder:
        half = folder.begin()
        half.write(b"half")
        with spool.open_association("closed") as closed:
            waiting = closed.put([b"waits"])
        assert spool.sweep_arrivals() == 0
        assert half.commit().read_bytes() == b"half"
    assert waiting.exists()


def test_sweep_removes_folder_and_lock_of_a_closed_association_whose_arrivals_are_indexed(spool: Spool):
    with spool.open_association("a") as folder:
        path = folder.put([b"1"])
    spool.unlink_arrival(path)
    spool.unlink_arrival(path)
    assert spool.sweep_arrivals() == 0
    assert list((spool.root / "arrivals").iterdir()) == []


def test_sweep_removes_old_temporary_files_and_spares_new_ones(spool: Spool):
    old, new = spool.root / "tmp" / "old", spool.root / "tmp" / "new"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    assert spool.sweep_arrivals() == 1
    assert list((spool.root / "tmp").iterdir()) == [new]


def test_free_bytes_is_what_the_file_system_says(spool: Spool):
    disk = os.statvfs(spool.root)
    assert abs(spool.free_bytes() - disk.f_bavail * disk.f_frsize) < 1 << 30


def test_a_missing_spool_is_spool_unavailable(tmp_path: Path):
    with pytest.raises(SpoolUnavailable, match="No such file"):
        Spool(tmp_path / "away", min_free_bytes=0).arrivals()


def test_an_arrival_that_no_disk_operation_can_touch_is_passed_over_and_the_others_are_seen(
        spool: Spool, monkeypatch: pytest.MonkeyPatch):
    with spool.open_association("a") as folder:
        sick, well = folder.put([b"sick"]), folder.put([b"well"])
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self == sick:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(SpoolUnavailable, match="Input/output error"):
        spool.quarantine(sick, "SpoolUnavailable: cannot be read")
    assert [arrival.path for arrival in spool.arrivals()] == [sick, well]
    assert [arrival.path for arrival in spool.arrivals(skip={sick})] == [well]
    assert spool.quarantined() == 0
