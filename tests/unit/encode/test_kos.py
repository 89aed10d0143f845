"""Key Object Selections: what a rejection note names, under which title, in which language."""

import highdicom as hd
import numpy as np
import pytest

from dicomnode.domain.dicom import COMPREHENSIVE_SR_STORAGE, SEGMENTATION_STORAGE, InstanceRef
from dicomnode.encode.kos import encode_manifest, encode_rejection
from dicomnode.errors import EncodingError
from tests.builders import ct_series
from tests.findings import parsed, stamp

SENT = [InstanceRef(sop_class_uid=SEGMENTATION_STORAGE, sop_instance_uid="2.25.7"),
        InstanceRef(sop_class_uid=COMPREHENSIVE_SR_STORAGE, sop_instance_uid="2.25.8")]


@pytest.fixture(scope="module")
def source():
    who = {"PatientName": "王^小东", "SpecificCharacterSet": "GB18030", "IssuerOfPatientID": "A"}
    return ct_series(np.zeros((2, 4, 4)), **who)[0]


def test_a_rejection_note_names_what_was_sent_in_the_series_that_this_node_gave_it(source):
    own = stamp(predecessors=("2.25.7",))
    note = hd.ko.KeyObjectSelectionDocument.from_dataset(parsed(encode_rejection(SENT, source, own, "pacs")))
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    for one in SENT:
        study, series, instance = note.resolve_reference(one.sop_instance_uid)
        assert (study, instance) == (source.StudyInstanceUID, one.sop_instance_uid)
        assert series == own.series_of(one.sop_instance_uid)
    assert "supersedes earlier" in note.SeriesDescription
    assert (str(note.PatientName), note.IssuerOfPatientID) == ("王^小东", "A")


def test_images_are_named_as_images_and_reports_as_composites_without_a_purpose(source):
    note = parsed(encode_rejection(SENT, source, stamp(), "pacs"))
    named = [one for one in note.ContentSequence if "ReferencedSOPSequence" in one]
    assert [one.ValueType for one in named] == ["IMAGE", "COMPOSITE"]
    assert not any("ConceptNameCodeSequence" in one for one in named)


@pytest.mark.parametrize(("language", "words"), [("en", "the study was handled again"), ("zh", "已被取代")])
def test_the_note_says_in_words_that_the_objects_are_superseded(source, language, words):
    note = parsed(encode_rejection(SENT, source, stamp(language=language), "pacs"))
    (text,) = [one.TextValue for one in note.ContentSequence if one.ValueType == "TEXT"
               and one.ConceptNameCodeSequence[0].CodeValue == "113012"]
    assert words in text
    assert note.ContentSequence[0].ConceptCodeSequence[0].CodeValue[:2] == language


def test_two_peers_that_were_sent_the_same_get_notes_of_their_own(source):
    first, second = (encode_rejection(SENT, source, stamp(), peer) for peer in ("pacs", "viewer"))
    assert first.sop_instance_uid != second.sop_instance_uid
    assert (first.group, second.group) == ("rejection|pacs", "rejection|viewer")


def test_a_selection_of_nothing_is_refused(source):
    with pytest.raises(EncodingError):
        encode_manifest([], source, stamp())
