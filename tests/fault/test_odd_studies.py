"""Studies as no scanner should send them: to a whole node in processes, each ends with exactly one set of results."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence

import pytest
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset

from dicomnode.ledger import census
from tests.crash.house import House
from tests.crash.scanner import SLICES, a_study, send_whole
from tests.crash.verdict import Verdict, check, settle
from tests.live import until

pytestmark = pytest.mark.timeout(280)


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("house"), roles=("receive", "keep", "notify", "deliver"), quiet_s=2.0) as built:
        built.start_all()
        until(built.listens, "the receiver listens")
        yield built


def together(house: House, *series: Sequence[Dataset]) -> None:
    """Send each series from a scanner of its own, all at the same time."""
    threads = [
        threading.Thread(target=send_whole, args=[house.port, images, house.sent], kwargs={"calling": f"SCANNER{n}"})
        for n, images in enumerate(series, start=1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()


def kept(house: House) -> Verdict:
    settle(house)
    verdict = check(house)
    assert not verdict.problems, "\n".join(verdict.lines())
    assert house.sent.refused == []
    return verdict


def uid_of_study(images: Sequence[Dataset]) -> str:
    return str(images[0].StudyInstanceUID)


def timeline(house: House, images: Sequence[Dataset]) -> list[str]:
    with house.ledger.read() as connection:
        return [row["kind"] for row in census.timeline(connection, uid_of_study(images))]


def outcome(house: House, images: Sequence[Dataset]) -> str:
    with house.ledger.read() as connection:
        return str(census.study(connection, uid_of_study(images))["outcome"])


def copies(house: House, image: Dataset) -> int:
    found = house.spool.joinpath("store").rglob("*.dcm")
    return sum(str(image.SOPInstanceUID) in path.name for path in found)


def results(house: House, images: Sequence[Dataset]) -> list[Dataset]:
    """Return what the PACS has of a study."""
    found = [read_dataset(DicomBytesIO(data), is_implicit_VR=False, is_little_endian=True)
             for data in house.pacs.objects().values()]
    return [one for one in found if uid_of_study(images) == one.StudyInstanceUID]


def changed(images: Sequence[Dataset], **attributes: object) -> list[Dataset]:
    """The same UIDs, with other attributes."""
    made = copy.deepcopy(list(images))
    for image in made:
        for keyword, value in attributes.items():
            setattr(image, keyword, value)
    return made


def test_one_study_from_two_senders_at_once_is_kept_once_and_analysed_once(house):
    images = a_study("from two", part="KNEE")
    together(house, images, a_study("from two", part="KNEE"))
    kept(house)
    assert {copies(house, image) for image in images} == {1}
    assert timeline(house, images).count("job_created") == 1


def test_the_same_images_with_another_name_are_both_kept_and_the_newest_name_stands_in_the_results(house):
    images = a_study("renamed", part="KNEE")
    together(house, images)
    together(house, changed(images, PatientName="Corrected^Name"))
    kept(house)
    assert {copies(house, image) for image in images} == {2}
    assert "instances_corrected" in timeline(house, images)
    assert {str(one.PatientName) for one in results(house, images)} == {"Corrected^Name"}


def test_the_same_images_with_other_pixels_are_both_kept_and_never_analysed(house):
    images = a_study("other pixels")
    other = changed(images[:1], PixelData=bytes(len(images[0].PixelData)))
    together(house, images, other)
    kept(house)
    assert copies(house, images[0]) == 2
    assert "instances_conflicting" in timeline(house, images)
    assert outcome(house, images).startswith("not analysed: ConflictingInstances")


def test_a_study_in_halves_from_two_associations_with_another_between_is_one_study(house):
    first, other = a_study("in halves", part="KNEE"), a_study("between", part="KNEE")
    woven = [one for pair in zip(first[::2], other[::2], strict=True) for one in pair]
    rest = [one for pair in zip(other[1::2], first[1::2], strict=True) for one in pair]
    together(house, woven, rest)
    kept(house)
    for images in (first, other):
        assert timeline(house, images).count("job_created") == 1
        with house.ledger.read() as connection:
            assert census.study(connection, uid_of_study(images))["instances"] == SLICES


def test_images_that_come_after_the_result_was_sent_bring_one_new_set_that_names_the_earlier(house):
    images = a_study("late")
    house.start("work")
    together(house, images[:14])
    until(lambda: results(house, images), "the PACS has the results of the first images")
    settle(house)
    before = {str(one.SOPInstanceUID) for one in results(house, images)}
    together(house, images[14:])
    verdict = kept(house)
    house.kill("work")
    assert verdict.superseded == 2, "one set at each of two PACSs"
    new = [one for one in results(house, images) if one.SOPInstanceUID not in before]
    named = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in new
             for study in one.get("PredecessorDocumentsSequence", []) for item in study.ReferencedSeriesSequence}
    assert named
    assert named <= before


def test_the_checker_of_these_tests_sees_what_is_lost_doubled_or_left_over(house):
    images = a_study("checked", part="KNEE")
    together(house, images)
    kept(house)
    (stored,) = house.spool.joinpath("store").rglob(f"{images[0].SOPInstanceUID}*.dcm")
    away = stored.rename(house.folder / "away")
    uid, sent = next((uid, sent) for uid, sent in house.pacs.sent.items() if uid in house.archive.sent)
    sent.append("other bytes")
    house.archive.sent["1.2.3"] = house.archive.sent.pop(uid)
    (house.spool / "quarantine" / "left").touch()
    problems = check(house).problems
    away.rename(stored)
    sent.pop()
    house.archive.sent[uid] = house.archive.sent.pop("1.2.3")
    (house.spool / "quarantine" / "left").unlink()
    assert f"{images[0].SOPInstanceUID} was acknowledged and is not in the store" in problems
    assert f"PACS has {uid} with other bytes than the node" in problems
    assert "ARCHIVE has 1.2.3, which no job made" in problems
    assert "left over: quarantine/left" in problems
    kept(house)
