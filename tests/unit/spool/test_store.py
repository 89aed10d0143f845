from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dicomnode.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool", min_free_bytes=0)
    made.prepare()
    return made


def arrive(spool: Spool, name: str, content: bytes) -> Path:
    with spool.open_association(name) as folder:
        return folder.put([content])


def test_a_linked_file_outlives_its_arrival(spool: Spool):
    arrival = arrive(spool, "a", b"image")
    spool.link_into_store(arrival, "ab/1.2.3/1.2.3.4.dcm")
    spool.unlink_arrival(arrival)
    assert spool.store_path("ab/1.2.3/1.2.3.4.dcm").read_bytes() == b"image"


def test_linking_again_changes_nothing_for_the_same_file_or_the_same_bytes(spool: Spool):
    first, second = arrive(spool, "a", b"image"), arrive(spool, "b", b"image")
    for arrival in (first, first, second):
        spool.link_into_store(arrival, "ab/1.2/3.dcm")
    assert spool.store_path("ab/1.2/3.dcm").samefile(first)


def test_a_name_with_other_bytes_is_never_overwritten(spool: Spool):
    spool.link_into_store(arrive(spool, "a", b"first"), "ab/1.2/3.dcm")
    with pytest.raises(FileExistsError):
        spool.link_into_store(arrive(spool, "b", b"other"), "ab/1.2/3.dcm")
    assert spool.store_path("ab/1.2/3.dcm").read_bytes() == b"first"


def test_a_batch_syncs_each_folder_once_after_its_links(spool: Spool, monkeypatch: pytest.MonkeyPatch):
    pairs = [(arrive(spool, f"a{number}", b"%d" % number), f"ab/1.2/{number}.dcm") for number in range(5)]
    spool.link_all_into_store(pairs[:1])
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())), fsync(fd)))
    spool.link_all_into_store(pairs)
    assert synced == [str(spool.store_path("ab/1.2"))]
    assert len(list(spool.store_path("ab/1.2").iterdir())) == 5


@pytest.mark.parametrize("relative", ["../secret", "/etc/passwd", "", "ab/../../x"])
def test_a_path_out_of_the_store_is_refused(spool: Spool, relative: str):
    with pytest.raises(ValueError, match="not a path below"):
        spool.store_path(relative)


def test_removing_a_study_frees_its_bytes_and_spares_its_neighbours(spool: Spool):
    for study in ("1.2", "1.3"):
        arrival = arrive(spool, study, bytes(100_000))
        spool.link_into_store(arrival, f"ab/{study}/5.dcm")
        spool.unlink_arrival(arrival)
    assert spool.remove_study("ab/1.2") >= 100_000
    assert not spool.store_path("ab/1.2").exists()
    assert spool.store_path("ab/1.3/5.dcm").exists()
    assert spool.remove_study("ab/1.2") == 0


def test_removing_a_study_counts_no_bytes_that_an_arrival_still_holds(spool: Spool):
    arrival = arrive(spool, "a", bytes(100_000))
    spool.link_into_store(arrival, "ab/1.2/5.dcm")
    assert spool.remove_study("ab/1.2") == 0
    assert arrival.exists()


def test_quarantine_keeps_the_bytes_and_says_why(spool: Spool):
    kept = spool.quarantine(arrive(spool, "a", b"hostile"), "CannotUnderstand: no Study Instance UID")
    assert kept.read_bytes() == b"hostile"
    assert kept.with_name(kept.name + ".reason.txt").read_text() == "CannotUnderstand: no Study Instance UID"
    assert spool.quarantined() == 1
    assert list(spool.arrivals()) == []


def test_events_come_back_in_order_with_their_kind(spool: Spool):
    spool.put_event("commitment", b"first")
    spool.put_event("commitment", b"second")
    found = list(spool.events())
    assert [path.read_bytes() for path in found] == [b"first", b"second"]
    assert {path.suffix for path in found} == {".commitment"}
    assert list((spool.root / "tmp").iterdir()) == []


def age(spool: Spool, by_s: float) -> None:
    """Let every result folder have changed for the last time ``by_s`` ago."""
    then_s = time.time() - by_s
    for folder in (spool.root / "results").rglob("*"):
        os.utime(folder, (then_s, then_s))


def test_a_result_of_another_claim_is_swept_and_a_kept_one_stays(spool: Spool):
    old, kept = spool.result_folder(7, "old"), spool.result_folder(7, "new")
    spool.put_result(old, "SEG.dcm", b"half")
    relative = spool.put_result(kept, "SEG.dcm", b"whole")
    assert relative == "7/new/SEG.dcm"
    age(spool, 7200)
    assert spool.sweep_results({"7/new"}) == 1
    assert not old.exists()
    assert spool.result_path(relative).read_bytes() == b"whole"
    age(spool, 7200)
    assert spool.sweep_results(frozenset()) == 1
    assert list((spool.root / "results").iterdir()) == []


def test_a_result_folder_younger_than_an_hour_is_spared_because_its_claim_may_be_newer_than_the_list(spool: Spool):
    age(spool, 7200)
    claimed = spool.result_folder(8, "just-claimed")
    spool.put_result(claimed, "SEG.dcm", b"half")
    assert spool.sweep_results(frozenset()) == 0
    assert claimed.is_dir()
    age(spool, 3000)
    assert spool.sweep_results(frozenset()) == 0
    age(spool, 3700)
    assert spool.sweep_results(frozenset()) == 1
    assert not claimed.exists()


def test_an_empty_job_folder_is_spared_while_its_first_claim_may_still_be_on_its_way(spool: Spool):
    job = spool.result_folder(9, "token").parent
    (job / "token").rmdir()
    spool.sweep_results(frozenset())
    assert job.is_dir()
    age(spool, 7200)
    spool.sweep_results(frozenset())
    assert not job.exists()
