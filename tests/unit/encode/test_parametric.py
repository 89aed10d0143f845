"""Parametric maps: each slice's own numbers, named by a code, on the images that they belong to."""

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest

from dicomnode.domain.findings import ParametricMap
from dicomnode.encode.parametric import encode_parametric
from dicomnode.infer.measure import QUANTITY
from tests.builders import affine_lps, ct_series, enhanced_ct
from tests.findings import HEART, LUNG, NODULE, findings, parsed, provenance, stack_of, stamp

SHAPE = (6, 10, 12)
UNEVEN = ("100", "102", "104.5", "106", "109", "111")
SERIES = {
    "axial": lambda: ct_series(np.zeros(SHAPE)),
    "tilted": lambda: ct_series(np.zeros(SHAPE), affine=affine_lps(tilt_deg=18.5)),
    "uneven": lambda: ct_series(np.zeros(SHAPE), ImagePositionPatient=lambda k: ["-32", "-40", UNEVEN[k]]),
    "multi-frame": lambda: [enhanced_ct(np.zeros(SHAPE), order=[3, 1, 5, 0, 2, 4])],
    "one slice": lambda: ct_series(np.zeros((1, *SHAPE[1:])), SliceThickness="3.5"),
}


def with_map(stack, labels=(NODULE,), quantity="probability", name="demo_chest"):
    values = np.random.default_rng(3).random(stack.shape_zyx, dtype=np.float32)
    return replace(findings(stack, np.zeros(stack.shape_zyx, np.uint8), model=provenance(name)),
                   parametric=ParametricMap(values_zyx=values, quantity=QUANTITY[quantity], labels=labels))


def encoded(series, **changes: object):
    found = with_map(stack_of(series), **changes)
    (written,) = encode_parametric([found], {found.stack.series_uid: series}, stamp())
    return found, parsed(written)


@pytest.mark.parametrize("name", list(SERIES))
def test_every_slice_has_a_frame_with_its_numbers_its_image_and_its_place(name):
    found, result = encoded(SERIES[name]())
    planes = {(p.instance.sop_instance_uid, p.frame): k for k, p in enumerate(found.stack.planes)}
    met = []
    for frame, group in zip(result.pixel_array.reshape(-1, *SHAPE[1:]), result.PerFrameFunctionalGroupsSequence,
                            strict=True):
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        k = planes[image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber", 1)]
        np.testing.assert_array_equal(frame, found.parametric.values_zyx[k])
        np.testing.assert_allclose(group.PlanePositionSequence[0].ImagePositionPatient,
                                   found.stack.planes[k].position_lps_mm, atol=1e-6)
        met.append(k)
    assert sorted(met) == list(range(len(found.stack.planes)))


def test_a_stack_of_some_frames_leaves_the_others_out():
    image = enhanced_ct(np.zeros(SHAPE))
    whole = stack_of([image])
    found = with_map(replace(whole, planes=whole.planes[2:5]))
    (written,) = encode_parametric([found], {whole.series_uid: [image]}, stamp())
    assert parsed(written).NumberOfFrames == 3


def test_highdicom_reads_the_same_numbers_as_one_volume():
    found, result = encoded(SERIES["axial"]())
    volume = hd.Image.from_dataset(result).get_volume(apply_real_world_transform=True, apply_voi_transform=False)
    turned = volume.array if volume.affine[2, 0] > 0 else volume.array[::-1]
    np.testing.assert_array_equal(turned, found.parametric.values_zyx)


@pytest.mark.parametrize(("quantity", "code"), [("probability", "122157"), ("uncertainty", "ENTROPY")])
def test_what_the_numbers_are_is_coded_and_stored_values_are_real_ones(quantity, code):
    _, result = encoded(SERIES["axial"](), quantity=quantity)
    (mapping,) = result.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    said = {one.ConceptNameCodeSequence[0].CodeValue: one.ConceptCodeSequence[0].CodeValue
            for one in mapping.QuantityDefinitionSequence}
    assert said == {"246205007": code, "121071": NODULE.type.value, "363698007": NODULE.region.value}
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "{1}"


def test_a_map_of_several_labels_names_them_in_words():
    _, result = encoded(SERIES["axial"](), labels=(LUNG, HEART))
    (mapping,) = result.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert mapping.LUTExplanation == "Probability: Lung, Heart"
    assert len(mapping.QuantityDefinitionSequence) == 1


def test_the_series_says_what_it_is_and_that_nobody_verified_it():
    _, result = encoded(SERIES["axial"]())
    assert result.SeriesDescription == "AI probability map demo_chest - NOT VERIFIED"
    assert result.ContentQualification == "RESEARCH"
    assert result.FrameOfReferenceUID == stack_of(SERIES["axial"]()).frame_of_reference_uid


def test_a_model_without_a_map_has_none_written():
    series = SERIES["axial"]()
    found = findings(stack_of(series), np.ones(SHAPE, np.uint8))
    assert encode_parametric([found], {found.stack.series_uid: series}, stamp()) == ()


def test_the_same_map_gives_the_same_bytes():
    series = SERIES["axial"]()
    found = with_map(stack_of(series))
    one, other = (encode_parametric([found], {found.stack.series_uid: SERIES["axial"]()}, stamp()) for _ in range(2))
    assert one[0].payload == other[0].payload
