"""Which segments there are, how they are numbered and drawn, and what each one says of itself."""

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.encode.groups import finding_group
from dicomnode.encode.segments import describe, label_map, segments_of
from tests.builders import ct_series
from tests.findings import HEART, LEFT_KIDNEY, LUNG, NODULE, block, findings, provenance, stack_of

SHAPE = (5, 8, 9)


def a_stack():
    return stack_of(ct_series(np.zeros(SHAPE)))


def a_mask():
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 1:7, 1:4] = LUNG.value
    mask[2:4, 1:7, 5:8] = LEFT_KIDNEY.value
    return mask


def test_segments_are_numbered_from_one_without_gaps_and_only_what_has_voxels_gets_one():
    found = findings(a_stack(), a_mask(), labels=(LUNG, NODULE, HEART, LEFT_KIDNEY))
    assert [(one.number, one.label.name) for one in segments_of(found)] == [(1, "Lung"), (2, "Left kidney")]


def test_each_lesion_is_a_segment_of_its_own_after_the_structures():
    lesions = [block(SHAPE, slice(1, 2), slice(1, 3), slice(1, 3)), block(SHAPE, slice(3, 4), slice(5, 7), slice(2, 4))]
    found = findings(a_stack(), a_mask(), lesions=lesions, labels=(LUNG, NODULE, LEFT_KIDNEY))
    assert [(one.number, one.lesion.number if one.lesion else None) for one in segments_of(found)] == [
        (1, None), (2, None), (3, 1), (4, 2)]
    drawn = label_map(found, segments_of(found))
    assert set(np.unique(drawn[lesions[0]])) == {3}
    assert set(np.unique(drawn[lesions[1]])) == {4}
    assert (drawn == 1).sum() + (drawn == 2).sum() == (a_mask() > 0).sum() - 4 - 4


def test_a_detection_without_voxels_has_no_segment():
    found = findings(a_stack(), a_mask(), lesions=[block(SHAPE, slice(1, 2), slice(1, 3), slice(1, 3))])
    empty = np.zeros(SHAPE, np.uint16)
    without = findings(a_stack(), a_mask(), detections=found.detections, lesion_zyx=empty)
    assert [one.lesion for one in segments_of(without)] == [None, None]


def test_a_mask_of_sixteen_bits_and_more_than_255_segments_keeps_every_number():
    stack = stack_of(ct_series(np.zeros((2, 20, 20))))
    lesions = [block((2, 20, 20), slice(k // 400, k // 400 + 1), slice(k // 20 % 20, k // 20 % 20 + 1),
                     slice(k % 20, k % 20 + 1)) for k in range(300)]
    found = findings(stack, np.zeros((2, 20, 20), np.uint8), lesions=lesions)
    drawn = label_map(found, segments_of(found))
    assert drawn.dtype == np.uint16
    np.testing.assert_array_equal(drawn.ravel()[:300], np.arange(1, 301))


def test_laterality_stands_as_modifier_of_the_type():
    found = findings(a_stack(), a_mask(), labels=(LUNG, NODULE, LEFT_KIDNEY))
    item = describe(segments_of(found)[1], found).SegmentedPropertyTypeCodeSequence[0]
    assert item.CodeMeaning == "Kidney"
    assert item.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"


def test_a_lesion_says_where_it_lies_and_carries_its_tracking_identifiers():
    found = findings(a_stack(), a_mask(), lesions=[block(SHAPE, slice(1, 2), slice(1, 3), slice(1, 3))])
    item = describe(segments_of(found)[-1], found)
    region = item.AnatomicRegionSequence[0]
    assert (region.CodeValue, region.AnatomicRegionModifierSequence[0].CodeMeaning) == ("39607008", "Left")
    assert (item.TrackingID, item.TrackingUID, item.SegmentLabel) == ("Nodule 1", "2.25.1001", "Nodule 1")


@pytest.mark.parametrize(("changed", "site"), [
    ({"site": LUNG.type}, None), ({}, LUNG.type),
])
def test_a_lesion_whose_label_names_no_region_lies_where_its_report_says(changed, site):
    lesion = block(SHAPE, slice(1, 2), slice(1, 3), slice(1, 3))
    found = findings(a_stack(), a_mask(), lesions=[lesion], finding_site=site)
    (nodule,) = found.detections
    nodule = replace(nodule, label=replace(NODULE, region=None), **changed)
    found = replace(found, detections=(nodule,))
    region = describe(segments_of(found)[-1], found).AnatomicRegionSequence[0]
    assert (region.CodeMeaning, region.AnatomicRegionModifierSequence[0].CodeMeaning) == ("Lung", "Left")
    group = finding_group(found, nodule, "en")
    (said,) = [item for item in group[0].ContentSequence if item.name.meaning == "Finding Site"]
    assert (said.value.meaning, said.ContentSequence[0].value.meaning) == ("Lung", "Left")


def test_a_lesion_that_lies_elsewhere_than_its_label_says_claims_no_side():
    lesion = block(SHAPE, slice(1, 2), slice(1, 3), slice(1, 3))
    found = findings(a_stack(), a_mask(), lesions=[lesion])
    (nodule,) = found.detections
    for side, count in (("", 0), ("left", 1)):
        one = replace(nodule, side=side, label=replace(NODULE, modifier=LEFT_KIDNEY.modifier))
        item = describe(segments_of(replace(found, detections=(one,)))[-1], found)
        type_item = item.SegmentedPropertyTypeCodeSequence[0]
        assert len(type_item.get("SegmentedPropertyTypeModifierCodeSequence", ())) == count


def test_the_colour_of_the_model_file_is_written_as_cielab():
    found = findings(a_stack(), a_mask())
    item = describe(segments_of(found)[0], found)
    lightness, a_star, b_star = item.RecommendedDisplayCIELabValue
    assert abs(lightness / 65535 * 100 - 76.2) < 1  # RGB 126 200 227 is L* 76, a* -16, b* -20
    assert a_star < 0x8080
    assert b_star < 0x8080


def test_each_segment_names_the_model_its_version_and_the_digest_of_its_weights():
    found = findings(a_stack(), a_mask())
    item = describe(segments_of(found)[0], found)
    model = item.SegmentationAlgorithmIdentificationSequence[0]
    assert (item.SegmentAlgorithmType, model.AlgorithmFamilyCodeSequence[0].CodeValue) == ("AUTOMATIC", "123110")
    assert (model.AlgorithmName, model.AlgorithmVersion) == ("demo_chest", "1.2")
    assert provenance().model_digest in model.AlgorithmParameters
