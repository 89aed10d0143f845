"""What a site does not want analysed, it says in the route: images without a patient, text in the pixels."""

from __future__ import annotations

import pytest

from dicomnode.domain.condition import Condition
from dicomnode.domain.dicom import Code
from dicomnode.domain.model import InputRole, Label, ModelFile
from dicomnode.domain.node import Route
from dicomnode.route.match import match
from tests.studies import series, study

LUNG = Code(value="39607008", scheme="SCT", meaning="Lung")
MODEL = ModelFile(name="lung", task="segmentation", bundle="b", digest="sha256:" + "0" * 64, intended_use="test",
                  inputs=(InputRole(role="ct"),),
                  labels=(Label(value=1, name="Lung", category=LUNG, type=LUNG, colour_rgb=(1, 2, 3)),))


def outcome(when, **attributes: str):
    route = Route(name="chest", model=("lung",), when=when)
    (one,) = match(study(series("chest", **attributes)), [route], {"lung": MODEL}, {})
    return one


KNOWN = {"PatientID": Condition(present=True)}
CLEAN = {"BurnedInAnnotation": Condition(lacks=("YES",), or_absent=True)}


def test_images_of_no_known_patient_are_analysed_where_the_route_does_not_mind():
    assert outcome({}).applies


def test_images_of_no_known_patient_are_not_analysed_where_the_route_wants_one():
    assert outcome(KNOWN, PatientID="P1").applies
    one = outcome(KNOWN)
    assert not one.applies
    assert "PatientID is absent, wanted present" in one.because


@pytest.mark.parametrize(("said", "applies"), [("YES", False), ("NO", True), ("", True)])
def test_images_with_text_in_their_pixels_are_left_out_where_the_route_says_so(said, applies):
    assert outcome(CLEAN, BurnedInAnnotation=said).applies is applies
    assert outcome({}, BurnedInAnnotation=said).applies
