"""One manifest for each set of objects that a peer can end up with: it names all of them, and nothing else."""

from io import BytesIO

import highdicom as hd
import numpy as np
import pytest

from dicomnode.domain.dicom import BASIC_TEXT_SR_STORAGE, SEGMENTATION_STORAGE
from dicomnode.domain.findings import EncodedObject
from dicomnode.domain.node import DEFAULT_TAKES
from dicomnode.run.manifests import manifests
from tests.builders import ct_series
from tests.findings import parsed, stamp


@pytest.fixture(scope="module")
def source():
    return ct_series(np.zeros((2, 4, 4)))[0]


def made(number, kind, group, refers_to=()):
    return EncodedObject(
        kind=kind, group=group, sop_class_uid=SEGMENTATION_STORAGE if kind == "SEG" else BASIC_TEXT_SR_STORAGE,
        sop_instance_uid=f"2.25.{number}", series_uid=f"2.25.9{number}", transfer_syntax_uid="1.2.840.10008.1.2.1",
        payload=b"", refers_to=refers_to)


SEG = made(1, "SEG", "seg:a")
FINDINGS = [made(2, "SR3D", "findings"), made(3, "SR", "findings")]
NEGATIVE = [made(4, "TEXT", "negative"), made(5, "SR", "negative")]
OBJECTS = [SEG, *FINDINGS, *NEGATIVE]


def named(one):
    document = hd.ko.KeyObjectSelectionDocument.from_dataset(parsed(one))
    evidence = {item.ReferencedSOPInstanceUID: part.SeriesInstanceUID
                for study in document.CurrentRequestedProcedureEvidenceSequence
                for part in study.ReferencedSeriesSequence for item in part.ReferencedSOPSequence}
    content = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in document.ContentSequence
               if "ReferencedSOPSequence" in item]
    assert sorted(content) == sorted(evidence)
    assert tuple(content) == one.refers_to
    return tuple(content)


def test_a_manifest_names_each_object_once_in_the_order_of_sending_and_comes_with_title_and_labels(source):
    (one, *_) = manifests(OBJECTS, [DEFAULT_TAKES], source, stamp())
    assert named(one) == ("2.25.1", "2.25.2", "2.25.5")
    result = parsed(one)
    assert (result.Modality, result.ConceptNameCodeSequence[0].CodeValue) == ("KO", "113030")
    assert result.SeriesDescription == "AI manifest demo_chest - NOT VERIFIED"
    assert (result.PatientID, result.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    assert result.ContentQualification == "RESEARCH"


def test_there_is_one_for_each_form_that_a_peer_may_fall_back_to(source):
    found = [named(one) for one in manifests(OBJECTS, [DEFAULT_TAKES], source, stamp())]
    assert found == [("2.25.1", "2.25.2", "2.25.5"), ("2.25.1", "2.25.3", "2.25.5"), ("2.25.1", "2.25.2", "2.25.4")]


def test_a_peer_that_may_refuse_an_object_has_a_manifest_without_it(source):
    pictures = [made(6, "SC", "capture"), made(7, "GSPS", "gsps")]
    found = [named(one) for one in manifests([SEG, *pictures], [("SEG", "SC", "GSPS", "KOS")], source, stamp())]
    assert sorted(map(len, found), reverse=True) == [3, 2, 2]
    assert all("2.25.1" in one for one in found)


def test_a_report_on_another_form_of_the_segmentation_is_never_named_beside_it(source):
    parts = [made(10, "SEG", "seg:a/1"), made(11, "SEG", "seg:a/2"), made(12, "LABELMAP", "seg:a")]
    volumes = [made(13, "SR", "volumes", ("2.25.10", "2.25.11")), made(14, "SR", "volumes", ("2.25.12",))]
    found = [named(one) for one in manifests([*parts, *volumes], [("LABELMAP", "SEG", "SR", "KOS")], source, stamp())]
    assert set(found) == {("2.25.12", "2.25.14"), ("2.25.10", "2.25.11", "2.25.13")}


def test_a_peer_that_takes_no_manifest_causes_none(source):
    assert manifests(OBJECTS, [("SEG", "SR")], source, stamp()) == ()
    assert manifests([], [DEFAULT_TAKES], source, stamp()) == ()


def test_the_same_set_has_the_same_bytes_and_another_set_another_uid(source):
    first, second = (manifests(OBJECTS, [DEFAULT_TAKES], source, stamp()) for _ in range(2))
    assert [one.payload for one in first] == [one.payload for one in second]
    assert len({one.sop_instance_uid for one in first}) == len(first)
    assert all(BytesIO(one.payload).read(132)[-4:] == b"DICM" for one in first)
