"""Several inputs of one model: each its own series, as many as possible, in one frame of reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.config import model_from_text
from dicomnode.domain.condition import Condition
from dicomnode.domain.model import InputRole, Limits, ModelFile, Range, SpacingLimits
from dicomnode.errors import MixedFrameOfReference, NoSuitableSeries, OutsideIntendedUse
from dicomnode.route.select import select
from tests.builders import uid_of
from tests.studies import series

ROOT = Path(__file__).resolve().parents[3]
FRAME, OTHER = uid_of("frame"), uid_of("other frame")
T1 = {"EchoTime": "3", "RepetitionTime": "600"}
T2 = {"EchoTime": "95", "RepetitionTime": "4500"}
FLAIR = {"EchoTime": "110", "RepetitionTime": "9000", "InversionTime": "2500"}
SHORT = {"EchoTime": Condition(max=30), "RepetitionTime": Condition(max=3000)}
ROLES = (
    InputRole(role="t1", modality="MR", contrast="without", when=SHORT),
    InputRole(role="t1c", modality="MR", contrast="with", when=SHORT),
    InputRole(role="t2", modality="MR", when={"EchoTime": Condition(min=70),
                                             "InversionTime": Condition(max=1000, or_absent=True)}),
    InputRole(role="flair", modality="MR", when={"InversionTime": Condition(min=1500)}),
)


def model(*roles: InputRole, limits: Limits | None = None) -> ModelFile:
    return ModelFile(name="m", task="segmentation", bundle="b", digest="sha256:" + "0" * 64, intended_use="test",
                     inputs=roles, labels=(), limits=limits or Limits())


def mr(name: str, said: Mapping[str, str | tuple[str, ...]] | None = None, *, frame: str = FRAME, number: str = "1",
       **more: str):
    return series(name, slices=24, modality="MR", BodyPartExamined="BRAIN", FrameOfReferenceUID=frame,
                  SeriesNumber=number, **(said or {}), **more)


def chosen(candidates, *roles: InputRole):
    found = select(candidates, model(*roles), route_when={})
    assert found.binding is not None, found.refusal
    return {one.role: one.series_uid for one in found.binding.series}


def test_the_four_contrasts_of_a_brain_are_told_by_their_sequence_parameters():
    study = [mr("a", FLAIR), mr("b", T2), mr("c", T1, ContrastBolusAgent="Gadovist"), mr("d", T1),
             mr("e", {"EchoTime": "80", "RepetitionTime": "5000", "DiffusionBValue": "1000"}, number="9")]
    assert chosen(study, *ROLES) == {"t1": uid_of("d"), "t1c": uid_of("c"), "t2": uid_of("b"), "flair": uid_of("a")}


def test_the_shipped_brain_model_takes_no_other_sequence_for_one_of_its_own():
    text = (ROOT / "config" / "models" / "demo_brain.toml").read_text(encoding="utf-8")
    shipped = model_from_text(text, source="demo_brain")
    fse, spgr = {"ScanningSequence": "SE"}, {"ScanningSequence": "GR"}
    study = [
        mr("t1", {"EchoTime": "2.5", "RepetitionTime": "2300", "InversionTime": "900",
                  "ScanningSequence": ("GR", "IR")}),
        mr("t1c", {**T1, **fse}, ContrastBolusAgent="Gadovist"),
        mr("t2", {**T2, **fse}), mr("flair", {**FLAIR, "ScanningSequence": ("SE", "IR")}),
        mr("dwi", {"EchoTime": "80", "RepetitionTime": "5000", "ScanningSequence": "EP", "DiffusionBValue": "1000"}),
        mr("tof", {"EchoTime": "4", "RepetitionTime": "25", "SeriesDescription": "AX 3D TOF", **spgr}),
        mr("swi", {"EchoTime": "20", "RepetitionTime": "28", "SeriesDescription": "Ax SWI", **spgr}),
        mr("survey", {**T1, **spgr, "SeriesDescription": "Survey"}),
        mr("pd", {"EchoTime": "15", "RepetitionTime": "3500", **fse}),
    ]
    found = select(study, shipped, route_when={})
    assert found.binding is not None, found.refusal
    assert {one.role: one.series_uid for one in found.binding.series} == {
        name: uid_of(name) for name in ("t1", "t1c", "t2", "flair")}
    eligible = {(one.role, one.series_uid) for one in found.verdicts if one.score is not None}
    assert eligible == {(name, uid_of(name)) for name in ("t1", "t1c", "t2", "flair")}


def test_a_study_without_the_contrast_series_is_refused_with_every_reason():
    found = select([mr("a", FLAIR), mr("b", T2), mr("d", T1)], model(*ROLES), route_when={})
    assert isinstance(found.refusal, NoSuitableSeries)
    text = str(found.refusal)
    assert "no series can be 't1c'" in text
    assert "EchoTime is 110, wanted at most 30" in text
    assert "made without contrast agent, wanted with" in text


def test_a_role_gives_way_where_another_has_no_other_series():
    any_mr = InputRole(role="any", modality="MR", prefer={"EchoTime": "thickest"})
    either = InputRole(role="either", modality="MR", when={"EchoTime": Condition(min=50)},
                       prefer={"EchoTime": "thickest"})
    long = InputRole(role="long", modality="MR", when={"EchoTime": Condition(min=50, max=100)})
    assert chosen([mr("a", T1), mr("b", T2), mr("c", FLAIR)], any_mr, either, long) == {
        "any": uid_of("a"), "either": uid_of("c"), "long": uid_of("b")}


def test_the_frame_that_fills_every_input_goes_before_a_better_series_in_another():
    sharp = {"SliceThickness": "1"}
    roles = (InputRole(role="t1", modality="MR", when=SHORT, prefer={"SliceThickness": "thinnest"}),
             InputRole(role="t2", modality="MR", when={"EchoTime": Condition(min=70)}))
    study = [mr("thin", {**T1, **sharp}, frame=OTHER), mr("thick", T1), mr("b", T2)]
    assert chosen(study, *roles) == {"t1": uid_of("thick"), "t2": uid_of("b")}
    found = select(study, model(*roles), route_when={})
    (thin,) = [one for one in found.verdicts if one.series_uid == uid_of("thin") and one.role == "t1"]
    assert "another Frame of Reference than that of series 1" in thin.reasons[0]


def test_inputs_in_several_frames_are_refused_by_name_of_role_and_series():
    study = [mr("a", T1, number="3"), mr("b", T2, frame=OTHER, number="4")]
    roles = (InputRole(role="t1", modality="MR", when=SHORT),
             InputRole(role="t2", modality="MR", when={"EchoTime": Condition(min=70)}))
    refusal = select(study, model(*roles), route_when={}).refusal
    assert isinstance(refusal, MixedFrameOfReference)
    assert f"'t1' is series 3 (…{uid_of('a')[-8:]}, MR) in …{FRAME[-8:]}" in str(refusal)
    assert f"'t2' is series 4 (…{uid_of('b')[-8:]}, MR) in …{OTHER[-8:]}" in str(refusal)
    allowed = (roles[0], InputRole(role="t2", modality="MR", when={"EchoTime": Condition(min=70)}, any_frame=True))
    assert chosen(study, *allowed) == {"t1": uid_of("a"), "t2": uid_of("b")}


def test_an_optional_input_in_another_frame_stays_empty():
    extra = InputRole(role="flair", modality="MR", required=False, when={"InversionTime": Condition(min=1500)})
    first = InputRole(role="t1", modality="MR", when=SHORT)
    assert chosen([mr("a", T1), mr("b", FLAIR, frame=OTHER)], first, extra) == {"t1": uid_of("a")}
    assert chosen([mr("a", T1), mr("b", FLAIR)], first, extra) == {"t1": uid_of("a"), "flair": uid_of("b")}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sets(st.integers(0, 4)), min_size=1, max_size=5))
def test_as_many_inputs_are_filled_as_can_be(fits):
    roles = [InputRole(role=f"r{k}", modality="MR", required=False,
                       when={"SequenceName": tuple(f"s{one}" for one in sorted(fit)) or ("none",)})
             for k, fit in enumerate(fits)]
    study = [mr(f"s{k}", {"SequenceName": f"s{k}"}) for k in range(5)]
    found = select(study, model(*roles), route_when={})
    bound = found.binding.series if found.binding else ()
    assert max(Counter(one.series_uid for one in bound).values(), default=0) <= 1
    assert len(bound) == most(fits, frozenset())


def most(fits, used) -> int:
    """Try everything."""
    if not fits:
        return 0
    here = [1 + most(fits[1:], used | {one}) for one in fits[0] - used]
    return max([most(fits[1:], used), *here])


@pytest.mark.parametrize(("limits", "said", "sentence"), [
    (Limits(when={"SliceThickness": Condition(max=3)}), {"SliceThickness": "5"},
     "SliceThickness is 5, wanted at most 3"),
    (Limits(when={"ConvolutionKernel": Condition(any_of=("B30f", "B31f"))}), {"ConvolutionKernel": "B70f"},
     "ConvolutionKernel is B70f, wanted B30f or B31f"),
    (Limits(when={"Manufacturer": ("SIEMENS", "GE MEDICAL SYSTEMS")}), {"Manufacturer": "Other"},
     "Manufacturer is Other, wanted SIEMENS or GE MEDICAL SYSTEMS"),
    (Limits(when={"Modality": ("CT",), "BodyPartExamined": ("HEAD",)}), {},
     "BodyPartExamined is CHEST, wanted HEAD"),
    (Limits(when={"KVP": Condition(min=80, max=140)}), {}, "KVP is absent, wanted 80 to 140"),
])
def test_each_limit_is_named_with_value_and_bound(limits, said, sentence):
    refusal = select([series("s", **said)], model(InputRole(role="ct"), limits=limits), route_when={}).refusal
    assert isinstance(refusal, OutsideIntendedUse)
    assert sentence in str(refusal)


def test_spacing_outside_the_declared_is_outside_the_intended_use():
    role = InputRole(role="ct", spacing_mm=SpacingLimits(max_between_slices=5.0))
    refusal = select([series("s", gap_mm=8)], model(role), route_when={}).refusal
    assert isinstance(refusal, OutsideIntendedUse)
    assert "8.00 mm between slices, wanted at most 5" in str(refusal)


def test_a_negative_condition_on_image_type_lets_no_derived_image_in():
    derived = series("mpr", ImageType=("DERIVED", "PRIMARY", "REFORMATTED"))
    role = InputRole(role="ct", when={"ImageType": Condition(lacks=("MIP",))})
    assert isinstance(select([derived], model(role), route_when={}).refusal, NoSuitableSeries)
    wanted = InputRole(role="ct", when={"ImageType": Condition(contains=("REFORMAT",))})
    assert select([derived], model(wanted), route_when={}).refusal is None


def _moved(one, place):
    """A series whose image ``k`` lies at ``place(k)``."""
    return replace(one, instances=tuple(
        replace(image, attributes={**image.attributes, "ImagePositionPatient": tuple(map(str, place(k)))})
        for k, image in enumerate(one.instances)))


def _said_otherwise(one, **attributes: tuple[str, ...]):
    """A series whose last image says something else."""
    *most, last = one.instances
    return replace(one, instances=(*most, replace(last, attributes={**last.attributes, **attributes})))


@pytest.mark.parametrize(("place", "says"), [
    (lambda k: (0, 0.4 * k, 2.5 * k), "the stack leans 9.1° from the slice normal (gantry tilt)"),
    (lambda k: (0, 0, 2.5 * k + 5 * (k > 7)), "gap of 7.5 mm after slice 8 where 2.5 mm is the spacing"),
    (lambda k: (3 * (k == 7), 0, 2.5 * k), "slices do not lie on one line: slice 8 lies 3.00 mm beside it"),
    (lambda k: (0, 0, 2.5 * (k // 2)), "several images in one place"),
    (lambda _: (0, 0, 0), "several images in one place"),
])
def test_a_series_whose_places_will_be_refused_is_taken_only_where_no_other_fits(place, says):
    odd, plain = _moved(mr("odd", number="1"), place), mr("plain", number="2")
    role = InputRole(role="x", modality="MR")
    found = select([odd, plain], model(role), route_when={})
    assert found.binding.series[0].series_uid == uid_of("plain")
    assert next(one for one in found.verdicts if one.series_uid == uid_of("odd")).reasons[-1].startswith(says)
    assert chosen([odd], role) == {"x": uid_of("odd")}, "alone, it is left to the reader, who names the reason in full"
    allowed = InputRole(role="x", modality="MR", spacing_mm=SpacingLimits(tilt_deg=10, max_gap=8, uneven=1.3))
    if "several" not in says:
        assert chosen([odd, plain], allowed) == {"x": uid_of("odd")}


@pytest.mark.parametrize(("attributes", "says"), [
    ({"Rows": ("256",)}, "more than one matrix"), ({"PixelSpacing": ("0.7", "0.8")}, "more than one PixelSpacing"),
    ({"ImageOrientationPatient": ("0", "1", "0", "0", "0", "-1")}, "more than one orientation"),
    ({"FrameOfReferenceUID": (OTHER,)}, "more than one Frame of Reference"),
])
def test_a_series_of_several_stacks_is_taken_only_where_no_other_fits_or_the_model_splits_it(attributes, says):
    odd, plain = _said_otherwise(mr("odd", number="1"), **attributes), mr("plain", number="2")
    found = select([odd, plain], model(InputRole(role="x", modality="MR")), route_when={})
    assert found.binding.series[0].series_uid == uid_of("plain")
    assert next(one for one in found.verdicts if one.series_uid == uid_of("odd")).reasons[-1] == says
    assert chosen([odd, plain], InputRole(role="x", modality="MR", split_by="ImageType")) == {"x": uid_of("odd")}


def test_an_optional_input_that_will_be_refused_is_left_out_rather_than_the_study():
    tilted = _moved(mr("odd", T2), lambda k: (0, 0.4 * k, 2.5 * k))
    roles = (InputRole(role="t1", modality="MR", when={"EchoTime": Condition(max=30)}),
             InputRole(role="t2", modality="MR", required=False, when={"EchoTime": Condition(min=70)}))
    assert chosen([mr("plain", T1), tilted], *roles) == {"t1": uid_of("plain")}


def test_of_two_series_for_one_input_the_second_is_not_passed_over_for_its_frame():
    found = select([mr("a", number="1"), mr("b", number="2", frame=OTHER)], model(InputRole(role="x", modality="MR")),
                   route_when={})
    reasons = next(one.reasons for one in found.verdicts if one.series_uid == uid_of("b"))
    assert reasons[0].endswith("is preferred")


def test_a_series_of_which_some_images_are_not_what_the_input_wants_is_not_taken():
    odd = _said_otherwise(mr("odd", number="1"), ImageType=("DERIVED", "PRIMARY", "OTHER"))
    role = InputRole(role="x", modality="MR", when={"ImageType": Condition(contains=("ORIGINAL",))})
    found = select([odd], model(role), route_when={})
    assert isinstance(found.refusal, NoSuitableSeries)
    assert "ImageType is DERIVED\\PRIMARY\\OTHER, wanted text with ORIGINAL (in 1 of 24 images)" in str(found.refusal)
    echoes = _said_otherwise(mr("echoes", T1), EchoTime=("90",))
    split = InputRole(role="x", modality="MR", when={"EchoTime": Condition(max=30)}, split_by="EchoTime")
    assert chosen([echoes], split) == {"x": uid_of("echoes")}, "what is split is chosen by the stack that is taken"


def test_a_single_slice_without_thickness_is_taken_only_where_no_other_fits():
    def slice_of(name: str, **more: str):
        return series(name, slices=1, modality="MR", FrameOfReferenceUID=FRAME, **more)

    role = InputRole(role="x", modality="MR")
    assert chosen([slice_of("thin", SeriesNumber="1", SliceThickness=""), slice_of("thick", SeriesNumber="2")], role) \
        == {"x": uid_of("thick")}


def test_an_age_before_birth_is_no_age():
    limits = Limits(age_years=Range(max=80))
    found = select([mr("a", PatientAge="", PatientBirthDate="20300101", StudyDate="20250101")],
                   model(InputRole(role="x", modality="MR"), limits=limits), route_when={})
    assert isinstance(found.refusal, OutsideIntendedUse)
    assert "the patient's age is not said" in str(found.refusal)
