from __future__ import annotations

from dataclasses import replace

import pytest

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import InputRole, Label, Limits, ModelFile, Range, SpacingLimits
from dicomnode.domain.node import Peer, Route
from dicomnode.domain.study import SeriesRecord
from dicomnode.errors import ConflictingInstances, MixedPatients, ModelMissing, NoSuitableSeries, OutsideIntendedUse
from dicomnode.route.match import match
from tests.builders import uid_of
from tests.studies import SAGITTAL, series, study

ORGAN = Code(value="39607008", scheme="SCT", meaning="Lung")
PEERS = {"pacs": Peer(name="pacs", ae_title="ORTHANC"), "ct1": Peer(name="ct1", ae_title="SCANNER")}
CT_ROLE = InputRole(role="ct", slices=Range(min=20), spacing_mm=SpacingLimits(max_between_slices=5.0))
CHEST = {"Modality": ("CT",), "BodyPartExamined": ("CHEST", "THORAX")}


def model(*roles: InputRole, name="lung", limits=None):
    return ModelFile(
        name=name, task="segmentation", bundle="b", digest="sha256:" + "0" * 64, intended_use="test",
        inputs=roles or (CT_ROLE,), limits=limits or Limits(),
        labels=(Label(value=1, name="Lung", category=ORGAN, type=ORGAN, colour_rgb=(1, 2, 3)),))


def outcome(the_study, *models: ModelFile, **route: object):
    models = models or (model(),)
    rule = Route(name="chest", model=tuple(m.name for m in models), **route)
    (one,) = match(the_study, [rule], {m.name: m for m in models}, PEERS)
    return one


def bound(one):
    return {series.role: series.series_uid for binding in one.bindings for series in binding.series}


def test_a_study_that_satisfies_the_rule_binds_every_slice_of_its_series():
    one = outcome(study(series("thorax")), from_=("pacs",), when=CHEST)
    assert one.applies
    assert one.refusal is None
    (binding,) = one.bindings
    assert binding.series[0].series_uid == uid_of("thorax")
    assert len(binding.series[0].sop_instance_uids) == 40


def _of(patient: str, one: SeriesRecord, images: int) -> SeriesRecord:
    """A series whose first images are of another patient."""
    return replace(one, instances=tuple(
        replace(image, attributes={**image.attributes, "PatientID": (patient,)}) if k < images else image
        for k, image in enumerate(one.instances)))


@pytest.mark.parametrize("images", [1, 20])
def test_images_of_two_patients_are_never_analysed_together(images):
    one = outcome(study(_of("Q77", series("thorax", PatientID="P1"), images)))
    assert isinstance(one.refusal, MixedPatients)
    assert one.bindings == ()
    assert "are of 2 patients by Patient ID (0010,0020): series 1 (" in str(one.refusal)
    assert "Q77" not in str(one.refusal)


def test_another_series_of_another_patient_and_images_without_patient_id_are_no_mixture():
    other = series("knee", slices=3, PatientID="P2")
    (binding,) = outcome(study(series("thorax", PatientID="P1"), other)).bindings
    assert binding.series[0].series_uid == uid_of("thorax")
    assert outcome(study(_of(" P1 ", series("thorax", PatientID="P1"), 5))).bindings
    assert outcome(study(_of("", series("thorax", PatientID="P1"), 5))).bindings


def test_inputs_of_two_patients_are_refused():
    roles = (InputRole(role="a", when={"SeriesDescription": ("A",)}), InputRole(role="b"))
    two = study(series("a", PatientID="P1", SeriesDescription="A"), series("b", PatientID="P2"))
    found = match(two, [Route(name="r", model=("m",))], {"m": model(*roles, name="m")}, {})
    assert isinstance(found[0].refusal, MixedPatients)
    assert str(found[0].refusal).count("series 1 (") == 2


def test_a_study_from_another_peer_is_not_the_routes():
    one = outcome(study(series("thorax"), sources=("SCANNER",)), from_=("pacs",))
    assert not one.applies
    assert one.because == "from: the study came from SCANNER, the route takes pacs"


def test_a_study_from_one_of_several_senders_is_the_routes():
    assert outcome(study(series("thorax"), sources=("SCANNER", "ORTHANC")), from_=("pacs",)).applies


def test_without_a_known_sender_the_sender_is_not_judged():
    assert outcome(study(series("thorax"), sources=()), from_=("pacs",)).applies


def test_when_compares_any_value_without_letter_case_and_outer_spaces():
    assert outcome(study(series("t", BodyPartExamined=" Thorax ")), when=CHEST).applies
    assert outcome(study(series("t")), when={"ImageType": ("axial",)}).applies


def test_a_study_that_no_series_of_satisfies_says_what_each_had():
    one = outcome(study(series("knee", BodyPartExamined="KNEE"), series("none", BodyPartExamined="")), when=CHEST)
    assert not one.applies
    assert "BodyPartExamined is KNEE, wanted CHEST or THORAX" in one.because
    assert "BodyPartExamined is absent" in one.because


def test_a_reason_never_repeats_what_may_name_a_patient():
    one = outcome(study(series("t", PatientName="Zhang^San", StudyDescription="Zhang San")),
                  when={"PatientName": ("X",), "StudyDescription": ("Y",)})
    assert "Zhang" not in one.because
    assert "PatientName is another, wanted X" in one.because


def test_the_localizer_does_not_speak_for_its_series():
    mixed = series("mixed", slices=2)
    scout = series("mixed", slices=1, ImageType=("ORIGINAL", "PRIMARY", "LOCALIZER"), BodyPartExamined="KNEE")
    both = type(mixed)(series_uid=mixed.series_uid, instances=scout.instances + mixed.instances[1:])
    assert outcome(study(both), model(InputRole(role="ct")), when=CHEST).applies


def test_localizer_dose_page_derived_and_thick_series_are_passed_over_each_with_its_reason():
    the_study = study(
        series("scout", slices=2, ImageType=("ORIGINAL", "PRIMARY", "LOCALIZER"), SeriesNumber="1"),
        series("axial", SeriesNumber="2"),
        series("mip", ImageType=("DERIVED", "SECONDARY", "MIP"), SeriesNumber="3"),
        series("dose", slices=1, modality="CT", sop_class="1.2.840.10008.5.1.4.1.1.7", SeriesNumber="999"),
        series("thick", gap_mm=8, SeriesNumber="4"),
        series("few", slices=6, SeriesNumber="5"),
        series("brain", modality="MR", SeriesNumber="6"),
    )
    one = outcome(the_study)
    assert bound(one) == {"ct": uid_of("axial")}
    reasons = {verdict.series_uid: " ".join(verdict.reasons) for verdict in one.verdicts}
    assert reasons[uid_of("scout")] == "localizer"
    assert reasons[uid_of("axial")] == ""
    assert "MIP" in reasons[uid_of("mip")]
    assert "no CT or MR image" in reasons[uid_of("dose")]
    assert "8.00 mm between slices, wanted at most 5" in reasons[uid_of("thick")]
    assert "6 slices, wanted at least 20" in reasons[uid_of("few")]
    assert "Modality is MR, wanted CT" in reasons[uid_of("brain")]


def test_no_series_for_a_required_role_is_a_refusal_that_lists_each_series_without_descriptions():
    one = outcome(study(series("few", slices=6, SeriesNumber="5", SeriesDescription="Zhang San thorax")), when=CHEST)
    assert one.applies
    assert one.bindings == ()
    assert isinstance(one.refusal, NoSuitableSeries)
    assert "series 5 (…" in str(one.refusal)
    assert "6 slices, wanted at least 20" in str(one.refusal)
    assert "Zhang" not in str(one.refusal)


def test_conflicting_images_are_a_refusal_of_every_route_that_applies():
    one = outcome(study(series("thorax"), conflicts=("1.2.3",)), when=CHEST)
    assert one.applies
    assert isinstance(one.refusal, ConflictingInstances)
    assert "1.2.3" in str(one.refusal)
    assert not outcome(study(series("thorax"), conflicts=("1.2.3",)), when={"Modality": ("MR",)}).applies


def test_derived_images_are_taken_only_where_image_type_is_declared():
    derived = series("mpr", ImageType=("DERIVED", "PRIMARY", "REFORMATTED"))
    assert isinstance(outcome(study(derived)).refusal, NoSuitableSeries)
    declared = InputRole(role="ct", when={"ImageType": ("REFORMATTED",)})
    assert bound(outcome(study(derived), model(declared))) == {"ct": uid_of("mpr")}


def test_reformatted_planes_that_the_scanner_calls_original_are_slices():
    original = series("mpr", ImageType=("ORIGINAL", "PRIMARY", "MPR", "NORM"))
    assert bound(outcome(study(original))) == {"ct": uid_of("mpr")}
    derived = outcome(study(series("mpr", ImageType=("DERIVED", "PRIMARY", "MPR")))).refusal
    assert "Image Type says MPR" in str(derived)


def test_a_projection_is_no_slice_even_where_it_is_called_original():
    refusal = outcome(study(series("mip", ImageType=("ORIGINAL", "PRIMARY", "MIP")))).refusal
    assert "Image Type says MIP" in str(refusal)


def test_the_orientation_of_a_role_is_the_nearest_plane():
    sagittal = series("sag", ImageOrientationPatient=SAGITTAL)
    axial = model(InputRole(role="ct", orientation="axial"))
    assert "orientation is sagittal, wanted axial" in str(outcome(study(sagittal), axial).refusal)
    assert outcome(study(sagittal), model(InputRole(role="ct", orientation="sagittal"))).refusal is None


def test_images_without_a_place_in_the_patient_are_no_slices():
    one = outcome(study(series("t", ImageOrientationPatient=())))
    assert "no position or orientation" in str(one.refusal)


def test_frames_of_multi_frame_images_count_as_slices():
    enhanced = series("e", slices=1, NumberOfFrames="40", SpacingBetweenSlices="2",
                      sop_class="1.2.840.10008.5.1.4.1.1.2.1")
    assert outcome(study(enhanced)).refusal is None


def test_outside_the_validated_limits_is_its_own_refusal():
    limits = Limits(when={"BodyPartExamined": ("CHEST",)}, age_years=Range(min=18))
    child = outcome(study(series("t", PatientAge="009M")), model(limits=limits))
    assert isinstance(child.refusal, OutsideIntendedUse)
    assert "PatientAge is 9 months; the model was validated for at least 18 years" in str(child.refusal)
    knee = outcome(study(series("t", BodyPartExamined="KNEE")), model(limits=limits))
    assert isinstance(knee.refusal, OutsideIntendedUse)
    assert outcome(study(series("t"), series("u", BodyPartExamined="KNEE")), model(limits=limits)).refusal is None


def test_an_unknown_age_is_not_inside_the_limits_but_a_birth_date_tells_it():
    limits = Limits(age_years=Range(min=18))
    unknown = outcome(study(series("t", PatientAge="")), model(limits=limits)).refusal
    assert isinstance(unknown, OutsideIntendedUse)
    assert "the patient's age is not said; the model was validated for at least 18 years" in str(unknown)
    told = series("t", PatientAge="", PatientBirthDate="19700101", StudyDate="20250101")
    assert outcome(study(told), model(limits=limits)).refusal is None
    young = series("t", PatientAge="", PatientBirthDate="20200101", StudyDate="20250101")
    refusal = outcome(study(young), model(limits=limits)).refusal
    assert isinstance(refusal, OutsideIntendedUse)
    assert "the patient's age at the study is 5 years; the model" in str(refusal)
    assert "2020" not in str(refusal)


@pytest.mark.parametrize(("age", "said"), [
    ("004Y", "4 years"), ("001Y", "1 year"), ("011M", "11 months"), ("018M", "1 year"), ("003W", "under 1 month"),
    ("095Y", "over 89 years")])
def test_a_refusal_says_the_age_as_people_do(age, said):
    limits = Limits(age_years=Range(min=18, max=80))
    refusal = outcome(study(series("t", PatientAge=age)), model(limits=limits)).refusal
    assert f"PatientAge is {said}; the model was validated for 18 to 80 years" in str(refusal)


def test_each_role_gets_its_own_series_and_the_choosy_role_chooses_first():
    any_mr = InputRole(role="any", modality="MR")
    short = InputRole(role="t1", modality="MR", when={"ScanningSequence": ("GR",)})
    one = outcome(study(series("t1", modality="MR", ScanningSequence="GR", slices=60),
                        series("t2", modality="MR", ScanningSequence="SE")), model(any_mr, short))
    assert bound(one) == {"any": uid_of("t2"), "t1": uid_of("t1")}


def test_an_optional_role_may_stay_empty():
    extra = InputRole(role="flair", modality="MR", required=False)
    assert bound(outcome(study(series("thorax")), model(CT_ROLE, extra))) == {"ct": uid_of("thorax")}


def test_two_models_of_a_route_each_get_a_binding_and_one_refusal_refuses_both():
    fits, not_fits = model(name="lung"), model(InputRole(role="ct", slices=Range(min=500)), name="vessels")
    both = outcome(study(series("thorax")), fits, model(name="bones"))
    assert [binding.model for binding in both.bindings] == ["lung", "bones"]
    assert [verdict.model for verdict in both.verdicts] == ["lung", "bones"]
    refused = outcome(study(series("thorax")), fits, not_fits)
    assert refused.bindings == ()
    assert "vessels" in str(refused.refusal)


def test_what_the_node_made_itself_feeds_no_route():
    own = series("own", Manufacturer="dicomnode", ManufacturerModelName="dicomnode")
    assert not outcome(study(own)).applies
    assert bound(outcome(study(own, series("thorax", slices=20)))) == {"ct": uid_of("thorax")}


def test_a_route_whose_model_is_not_loaded_is_said_aloud():
    with pytest.raises(ModelMissing, match="names model 'gone'"):
        match(study(series("t")), [Route(name="r", model=("gone",))], {}, PEERS)


def test_outcomes_come_in_the_order_of_the_routes():
    routes = [Route(name=name, model=("lung",)) for name in ("b", "a")]
    assert [one.route.name for one in match(study(series("t")), routes, {"lung": model()}, PEERS)] == ["b", "a"]
