"""Senders ask the node to commit (PS3.4 Annex J): what is durable and indexed is promised, and the promise comes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dicomnode.domain.dicom import CT_IMAGE_STORAGE, MR_IMAGE_STORAGE
from dicomnode.errors import LedgerUnavailable, SpoolFull
from dicomnode.ledger import retention
from dicomnode.ledger.engine import Ledger
from dicomnode.receive.answers import ACTION_ANSWERS
from dicomnode.receive.commit_request import REQUEST
from dicomnode.run.custody import UNDECIDED_S, Custody, open_requests
from tests.builders import uid_of
from tests.live import Orthanc, until
from tests.scanner import Report, Scanner, asked, both_roles, reference
from tests.stepped import Stepped, a_study, at, peer_toml, send, stopping

TRANSACTION = "2.25.1001"


@pytest.fixture
def scanner() -> Iterator[Scanner]:
    with Scanner() as listening:
        yield listening


@pytest.fixture
def house(tmp_path: Path, sqlite_ledger: Ledger, scanner: Scanner) -> Iterator[Stepped]:
    peers = peer_toml("ct", "SCANNER", scanner.port) + '[peers.mute]\nae_title = "MUTE"\n'
    with stopping(Stepped(tmp_path / "node", sqlite_ledger, peers)) as made:
        yield made


@pytest.fixture
def images(tmp_path: Path) -> tuple[list[Dataset], list[Path]]:
    return a_study(tmp_path / "ct")


def refs_of(images: list[Dataset], sop_class: str = CT_IMAGE_STORAGE) -> list[Dataset]:
    return [reference(sop_class, str(one.SOPInstanceUID)) for one in images]


def soon() -> datetime:
    """Return the present and a little more: a file that was just written is due."""
    return datetime.now(UTC) + timedelta(seconds=1)


def uids(images: list[Dataset]) -> list[str]:
    return [str(one.SOPInstanceUID) for one in images]


def test_images_that_are_indexed_are_committed_on_an_association_of_the_node_s_own(house, scanner, images):
    built, paths = images
    with house.receiving(storage_commitment=True) as receiver:
        send(receiver, paths)
        assert asked(receiver.port, TRANSACTION, refs_of(built)) == 0x0000
    house.keep(at(0))
    assert house.custody.step(at(0))
    assert house.custody.step(at(0))
    assert scanner.heard() == Report(TRANSACTION, 1, uids(built), {})
    assert not house.custody.step(at(1))
    assert open_requests(house.spool) == []
    story = "\n".join(house.story(str(built[0].StudyInstanceUID)))
    assert "commitment_given: ct may rely on 3 instance(s)" in story
    assert "commitment_reported: ct knows that it is committed" in story


def test_what_never_came_and_what_is_of_another_class_is_named_with_its_failure_reason(house, scanner, images):
    built, paths = images
    strange = reference(CT_IMAGE_STORAGE, uid_of("never sent"))
    with house.receiving(storage_commitment=True) as receiver:
        send(receiver, paths)
        refs = [*refs_of(built[:1]), *refs_of(built[1:2], MR_IMAGE_STORAGE), strange]
        assert asked(receiver.port, TRANSACTION, refs) == 0x0000
    house.keep(at(0))
    while house.custody.step(at(0)):
        pass
    assert scanner.heard() == Report(
        TRANSACTION, 2, uids(built[:1]), {uids(built)[1]: 0x0119, strange.ReferencedSOPInstanceUID: 0x0112})


def test_a_request_waits_for_the_images_that_came_before_it_and_not_for_ever(house, scanner, images):
    built, paths = images
    with house.receiving(storage_commitment=True) as receiver:
        send(receiver, paths)
        assert asked(receiver.port, TRANSACTION, refs_of(built)) == 0x0000
    assert house.custody.step(soon()), "it is looked at, and put off"
    assert not house.custody.step(soon())
    assert [request.judged for _, request in open_requests(house.spool)] == [False]
    (path,) = house.spool.events(REQUEST)
    with house.spool.hold_event(path, soon().timestamp()) as held:
        assert held is None, "nobody takes what was put off"
    house.keep(at(1))
    while house.custody.step(at(5)):
        pass
    assert scanner.heard().committed == uids(built)


def test_a_request_does_not_wait_for_ever_for_what_cannot_be_indexed(house, scanner, images):
    built, paths = images
    with house.receiving(storage_commitment=True) as receiver:
        send(receiver, paths)
        assert asked(receiver.port, TRANSACTION, refs_of(built)) == 0x0000
    while house.custody.step(at(UNDECIDED_S)):
        pass
    assert scanner.heard() == Report(TRANSACTION, 2, [], dict.fromkeys(uids(built), 0x0110))


def test_a_file_that_is_gone_from_the_disk_is_not_promised_whatever_the_index_says(house, scanner, images):
    built, paths = images
    with house.receiving(storage_commitment=True) as receiver:
        send(receiver, paths)
        asked(receiver.port, TRANSACTION, refs_of(built))
    house.keep(at(0))
    next(one for one in (house.spool.root / "store").rglob("*.dcm") if uids(built)[0] in one.name).unlink()
    while house.custody.step(at(0)):
        pass
    assert scanner.heard() == Report(TRANSACTION, 2, uids(built)[1:], {uids(built)[0]: 0x0112})


@pytest.mark.parametrize("answers", [[0x0110], [0x0110, 0x0213]])
def test_a_scanner_that_does_not_take_the_report_gets_it_again(house, scanner, images, answers):
    built, paths = images
    scanner.answers = list(answers)
    with house.receiving(storage_commitment=True) as receiver:
        send(receiver, paths)
        asked(receiver.port, TRANSACTION, refs_of(built))
    house.keep(at(0))
    house.custody.step(at(0))
    for attempt in range(len(answers)):
        house.custody.step(at(3600 * attempt))
        assert scanner.heard().event_type == 1
        ((_, request),) = open_requests(house.spool)
        assert request.attempt == attempt + 1
        assert "the report on storage commitment" in request.reason
    house.custody.step(at(3600 * len(answers)))
    assert scanner.heard().committed == uids(built)
    assert open_requests(house.spool) == []


def test_a_scanner_that_is_away_is_tried_until_the_limit_of_age_and_then_given_up_with_a_sentence(
    tmp_path, sqlite_ledger, images,
):
    built, paths = images
    with Scanner() as gone:
        port = gone.port
    house = Stepped(tmp_path / "node", sqlite_ledger, peer_toml("ct", "SCANNER", port))
    with house.receiving(storage_commitment=True) as receiver:
        send(receiver, paths)
        asked(receiver.port, TRANSACTION, refs_of(built))
    house.keep(at(0))
    house.custody.step(at(0))
    for hour in (0, 1, 71):
        house.custody.step(at(3600 * hour))
        assert len(open_requests(house.spool)) == 1
    house.custody.step(at(3600 * 80))
    assert open_requests(house.spool) == []
    assert "ct could not be told what is committed: PeerUnreachable" in "\n".join(
        house.story(str(built[0].StudyInstanceUID)))


def test_a_second_request_of_a_scanner_that_is_away_costs_no_second_attempt(tmp_path, sqlite_ledger, images):
    built, paths = images
    with Scanner() as gone:
        port = gone.port
    house = Stepped(tmp_path / "node", sqlite_ledger, peer_toml("ct", "SCANNER", port))
    with house.receiving(storage_commitment=True) as receiver:
        send(receiver, paths)
        for number in range(3):
            asked(receiver.port, f"2.25.{number}", refs_of(built))
    house.keep(at(0))
    while house.custody.step(at(0)):
        pass
    assert sorted(request.attempt for _, request in open_requests(house.spool)) == [0, 0, 1]


def test_a_promise_is_made_once_and_outlives_a_crash_at_every_step(house, scanner, images, monkeypatch):
    built, paths = images
    with house.receiving(storage_commitment=True) as receiver:
        send(receiver, paths)
        asked(receiver.port, TRANSACTION, refs_of(built))
    house.keep(at(0))
    with monkeypatch.context() as crash:
        crash.setattr("dicomnode.spool.held.Held.rewrite", killed)
        with pytest.raises(SystemExit):
            house.custody.step(at(0))
    again = Custody(house.config, house.ledger, house.spool, house.stop)
    assert again.step(at(1))
    with monkeypatch.context() as crash:
        crash.setattr("dicomnode.spool.held.Held.forget", killed)
        with pytest.raises(SystemExit):
            again.step(at(2))
    assert scanner.heard() == Report(TRANSACTION, 1, uids(built), {})
    once_more = Custody(house.config, house.ledger, house.spool, house.stop)
    assert once_more.step(at(3))
    assert scanner.heard() == Report(TRANSACTION, 1, uids(built), {}), "said twice, as the standard allows"
    story = house.story(str(built[0].StudyInstanceUID))
    assert sum(line.startswith("commitment_given") for line in story) == 1


def killed(*_: object) -> None:
    """End as SIGKILL does: the kernel frees the lock, and nothing is tidied."""
    raise SystemExit(137)


def test_a_database_that_is_away_keeps_the_request(house, scanner, images, monkeypatch):
    built, paths = images
    with house.receiving(storage_commitment=True) as receiver:
        send(receiver, paths)
        assert asked(receiver.port, TRANSACTION, refs_of(built)) == 0x0000
    house.keep(at(0))
    with monkeypatch.context() as away:
        away.setattr(house.ledger, "read", unavailable)
        with pytest.raises(LedgerUnavailable):
            house.custody.step(at(0))
    while house.custody.step(at(5)):
        pass
    assert scanner.heard().committed == uids(built)


def unavailable() -> None:
    raise LedgerUnavailable("the database is away")


def test_what_was_promised_stays_until_the_sender_knows_and_then_as_long_as_anything_finished(
    house, scanner, images,
):
    built, paths = images
    study = str(built[0].StudyInstanceUID)
    with house.receiving(storage_commitment=True) as receiver:
        send(receiver, paths)
        asked(receiver.port, TRANSACTION, refs_of(built))
    house.keep(at(0))
    house.keep(at(120))
    with house.ledger.read() as c:
        (before,) = retention.finished_studies(c, before=at(1e6))
    house.custody.step(at(500))
    with house.ledger.read() as c:
        (after,) = retention.finished_studies(c, before=at(1e6))
    assert after.finished_at == at(500), "its time to stay counts from the promise"
    with house.ledger.write() as c:
        assert not retention.forget_files(c, before, now=at(600), because="it was seen before the promise")
    assert [request.studies for _, request in open_requests(house.spool)] == [[study]]


def test_the_same_request_from_a_peer_without_host_or_from_a_stranger_is_refused_with_the_reason(house, images):
    built, _ = images
    with house.receiving(storage_commitment=True, unknown_peers="accept") as receiver:
        assert asked(receiver.port, TRANSACTION, refs_of(built), calling="MUTE") == 0x0124
        assert asked(receiver.port, TRANSACTION, refs_of(built), calling="STRANGER") == 0x0124
        assert asked(receiver.port, TRANSACTION, refs_of(built), action=2) == 0x0123
        assert asked(receiver.port, TRANSACTION, refs_of(built), instance="1.2.3") == 0x0112
        assert asked(receiver.port, TRANSACTION, []) == 0x0110
        assert asked(receiver.port, "", refs_of(built)) == 0x0110
    assert list(house.spool.events()) == []


def test_a_request_that_cannot_be_kept_is_refused_and_the_table_of_answers_is_whole(house, images, monkeypatch):
    built, _ = images
    with house.receiving(storage_commitment=True) as receiver:
        monkeypatch.setattr("dicomnode.spool.Spool.put_event", no_room)
        assert asked(receiver.port, TRANSACTION, refs_of(built)) == 0x0213
    assert {one.status for one in ACTION_ANSWERS} == {0x0000, 0x0110, 0x0112, 0x0122, 0x0123, 0x0124, 0x0213}


def no_room(*_: object) -> None:
    raise SpoolFull("the disk is full")


def test_a_node_that_does_not_offer_commitment_says_so(house, images):
    built, _ = images
    with house.receiving() as receiver:
        assert asked(receiver.port, TRANSACTION, refs_of(built)) == 0x0122
        assert asked(receiver.port, TRANSACTION, refs_of(built), ext_neg=both_roles()) == 0x0122
    assert list(house.spool.events()) == []


def test_a_scanner_that_knows_no_roles_is_told_all_the_same(tmp_path, sqlite_ledger, images):
    built, paths = images
    with Scanner(knows_roles=False) as scanner:
        house = Stepped(tmp_path / "node", sqlite_ledger, peer_toml("ct", "SCANNER", scanner.port))
        with house.receiving(storage_commitment=True) as receiver:
            send(receiver, paths)
            asked(receiver.port, TRANSACTION, refs_of(built))
        house.keep(at(0))
        house.custody.step(at(0))
        house.custody.step(at(0))
        waiting = open_requests(house.spool)
        heard = scanner.reports.qsize()
    assert heard == 1 or (waiting and waiting[0][1].reason), "told, or tried again with the scanner's reason"


@pytest.mark.slow
def test_orthanc_asks_and_hears(tmp_path, sqlite_ledger, images):
    built, paths = images
    with Orthanc(tmp_path / "orthanc", node_port=1) as orthanc:
        house = Stepped(tmp_path / "node", sqlite_ledger, peer_toml("pacs", "ORTHANC", orthanc.dicom_port))
        with house.receiving(storage_commitment=True) as receiver:
            orthanc.order("PUT", "/modalities/dicomnode", ["DICOMNODE", "127.0.0.1", receiver.port])
            send(receiver, paths[:2], calling="ORTHANC")
            missing = str(built[2].SOPInstanceUID)
            asked_for = orthanc.order("POST", "/modalities/dicomnode/storage-commitment", {
                "DicomInstances": [[CT_IMAGE_STORAGE, uid] for uid in uids(built)]})
            house.keep(at(0))
            while house.custody.step(at(0)):
                pass
            answer = until(lambda: settled(orthanc, asked_for["Path"]), "Orthanc has the answer")
    assert answer["Status"] == "Failure"
    assert sorted(one["SOPInstanceUID"] for one in answer["Success"]) == sorted(uids(built)[:2])
    (failure,) = answer["Failures"]
    assert failure["SOPInstanceUID"] == missing
    assert 0x0112 in failure.values(), failure


def settled(orthanc: Orthanc, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = orthanc.get(path)
    return answer if answer["Status"] != "Pending" else {}
