"""Structure sets: contours that lie on their images and enclose the mask, nothing more and nothing less."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from dicomnode.domain.findings import Segmentation
from dicomnode.encode.rtstruct import encode_rtstruct
from dicomnode.encode.segments import drawn_on, segments_of
from dicomnode.read.annotations_rtstruct import structures_of_rtstruct
from tests.builders import affine_lps, ct_series, enhanced_ct
from tests.findings import LEFT_KIDNEY, LUNG, NODULE, block, findings, parsed, provenance, stack_of, stamp

SHAPE = (6, 30, 34)
SPOT = block(SHAPE, slice(2, 4), slice(10, 14), slice(8, 11))
UNEVEN = ("100", "102", "104.5", "106", "109", "111")


def the_findings(series):
    """A lung with holes and a bridge, a nodule inside it, a kidney."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:6, 2:28, 2:20] = LUNG.value
    mask[2:5, 5:9, 5:9] = mask[3, 20:24, 6] = mask[3, 24, 7] = 0
    mask[3:5, 4:20, 24:33] = LEFT_KIDNEY.value
    return findings(stack_of(series), mask, lesions=[SPOT])


def structure_sets(series, found=None):
    found = found or the_findings(series)
    objects = encode_rtstruct([found], {found.stack.series_uid: series}, stamp())
    return found, objects


SERIES = {
    "axial": lambda: ct_series(np.zeros(SHAPE)),
    "oblique": lambda: ct_series(np.zeros(SHAPE), affine=affine_lps(
        row=(0.8, 0.6, 0), column=(0, 0, -1), spacing_zyx_mm=(3.0, 0.75, 0.6), origin_mm=(10, -60, 80))),
    "tilted": lambda: ct_series(np.zeros(SHAPE), affine=affine_lps(tilt_deg=18.5)),
    "uneven": lambda: ct_series(np.zeros(SHAPE), ImagePositionPatient=lambda k: ["-32", "-40", UNEVEN[k]]),
    "multi-frame": lambda: [enhanced_ct(np.zeros(SHAPE), order=[3, 1, 5, 0, 2, 4])],
}


@pytest.mark.parametrize("name", list(SERIES))
def test_contours_read_again_are_the_voxels_of_each_segment(name):
    series = SERIES[name]()
    found, (written,) = structure_sets(series)
    segments = segments_of(found)
    structures = list(structures_of_rtstruct(parsed(written), found.stack))
    assert [one.name for one in structures] == ["Lung", "Left kidney", "Nodule 1"]
    for structure, segment in zip(structures, segments, strict=True):
        truth = np.stack([drawn_on(found, segment, k) for k in range(SHAPE[0])])
        np.testing.assert_array_equal(structure.mask_zyx, truth)
        assert (structure.type.value, structure.colour_rgb) == (segment.label.type.value, segment.label.colour_rgb)


@pytest.mark.parametrize("name", list(SERIES))
def test_each_contour_names_the_image_whose_plane_it_lies_in(name):
    series = SERIES[name]()
    found, (written,) = structure_sets(series)
    planes = {(p.instance.sop_instance_uid, p.frame): p for p in found.stack.planes}
    for roi in parsed(written).ROIContourSequence:
        for contour in roi.ContourSequence:
            (image,) = contour.ContourImageSequence
            plane = planes[image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber", 1)]
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints
            assert np.abs((points - plane.position_lps_mm) @ plane.normal_lps).max() < 1e-3


def test_the_outline_of_one_pixel_runs_round_it_half_a_pixel_away_from_its_centre():
    series = ct_series(np.zeros(SHAPE), affine=affine_lps(origin_mm=(0, 0, 0), spacing_zyx_mm=(2, 1.5, 0.5)))
    mask = np.zeros(SHAPE, np.uint8)
    mask[1, 4, 6] = LUNG.value
    _, (written,) = structure_sets(series, findings(stack_of(series), mask))
    (contour,) = parsed(written).ROIContourSequence[0].ContourSequence
    points = np.array(contour.ContourData, float).reshape(-1, 3)
    assert sorted(map(tuple, points.tolist())) == [
        (2.75, 5.25, 2), (2.75, 6.75, 2), (3.25, 5.25, 2), (3.25, 6.75, 2)]


def test_every_image_of_the_series_is_referenced_under_its_study_and_frame_of_reference():
    series = ct_series(np.zeros(SHAPE))
    _, (written,) = structure_sets(series)
    result = parsed(written)
    (frame,) = result.ReferencedFrameOfReferenceSequence
    (study,) = frame.RTReferencedStudySequence
    (referenced,) = study.RTReferencedSeriesSequence
    assert frame.FrameOfReferenceUID == series[0].FrameOfReferenceUID
    assert study.ReferencedSOPInstanceUID == series[0].StudyInstanceUID
    assert referenced.SeriesInstanceUID == series[0].SeriesInstanceUID
    assert [one.ReferencedSOPInstanceUID for one in referenced.ContourImageSequence] == [
        one.SOPInstanceUID for one in series]
    assert {roi.ReferencedFrameOfReferenceUID for roi in result.StructureSetROISequence} == {
        series[0].FrameOfReferenceUID}


def test_the_set_says_that_it_is_automatic_unapproved_and_not_verified():
    _, (written,) = structure_sets(ct_series(np.zeros(SHAPE)))
    result = parsed(written)
    assert (result.ApprovalStatus, result.StructureSetLabel) == ("UNAPPROVED", "AI NOT VERIFIED")
    assert result.SeriesDescription == "AI structures demo_chest - NOT VERIFIED"
    assert "Research use only" in result.StructureSetDescription
    assert {roi.ROIGenerationAlgorithm for roi in result.StructureSetROISequence} == {"AUTOMATIC"}


def test_laterality_is_coded_and_only_structures_are_organs():
    _, (written,) = structure_sets(ct_series(np.zeros(SHAPE)))
    lung, kidney, nodule = parsed(written).RTROIObservationsSequence
    sides = [one.RTROIIdentificationCodeSequence[0].get("SegmentedPropertyTypeModifierCodeSequence")
             for one in (lung, kidney, nodule)]
    assert sides[0] is None
    assert [side[0].CodeMeaning for side in sides[1:]] == ["Left", "Left"]
    assert [one.RTROIInterpretedType for one in (lung, kidney, nodule)] == ["ORGAN", "ORGAN", ""]


def test_a_name_in_chinese_is_the_same_wherever_it_stands():
    series = ct_series(np.zeros(SHAPE))
    mask = np.zeros(SHAPE, np.uint8)
    mask[2, 3:9, 3:9] = 1
    found = findings(stack_of(series), mask, labels=(replace(LUNG, value=1, name="左肺结节"),))
    _, (written,) = structure_sets(series, found)
    result = parsed(written)
    assert result.StructureSetROISequence[0].ROIName == "左肺结节"
    assert result.RTROIObservationsSequence[0].ROIObservationLabel == "左肺结节"


def test_labels_that_share_voxels_are_drawn_whole():
    series = ct_series(np.zeros(SHAPE))
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 5:15, 5:15] |= 1
    mask[2:5, 10:20, 10:20] |= 2
    first, second = replace(LUNG, value=1), replace(LEFT_KIDNEY, value=2)
    stack = stack_of(series)
    drawn = Segmentation(mask_zyx=mask, stack=stack, labels=(first, second), overlapping=True)
    found = replace(findings(stack, np.zeros(SHAPE, np.uint8)), segmentation=drawn)
    _, (written,) = structure_sets(series, found)
    for structure, label in zip(structures_of_rtstruct(parsed(written), stack), (first, second), strict=True):
        np.testing.assert_array_equal(structure.mask_zyx, drawn.voxels(label))


def test_a_contour_longer_than_an_explicit_decimal_string_is_written_whole():
    shape = (2, 220, 220)
    series = ct_series(np.zeros(shape))
    mask = np.zeros(shape, np.uint8)
    mask[0, ::2, :] = mask[0, :, 0] = LUNG.value
    found = findings(stack_of(series), mask)
    comb = mask[0] > 0
    comb[1::4, 1:] = np.arange(219) % 2 == 0
    found.segmentation.mask_zyx[0][comb] = LUNG.value
    _, (written,) = structure_sets(series, found)
    assert written.transfer_syntax_uid == ImplicitVRLittleEndian
    result = parsed(written)
    assert max(len(str(one["ContourData"].value)) for one in result.ROIContourSequence[0].ContourSequence) > 65534
    (structure,) = structures_of_rtstruct(result, found.stack)
    np.testing.assert_array_equal(structure.mask_zyx[0], comb)


def test_each_model_with_a_mask_has_a_set_of_its_own():
    series = ct_series(np.zeros(SHAPE))
    one = the_findings(series)
    other = replace(the_findings(series), provenance=provenance("second"))
    silent = replace(one, segmentation=None, lesion_zyx=None, provenance=provenance("third"))
    both = encode_rtstruct([one, other, silent], {one.stack.series_uid: series},
                           stamp(one.provenance, other.provenance, silent.provenance))
    assert [made.group for made in both] == ["rtstruct:demo_chest", "rtstruct:second"]
    assert len({made.sop_instance_uid for made in both}) == len({made.series_uid for made in both}) == 2


def test_the_same_findings_give_the_same_bytes():
    one, other = (structure_sets(ct_series(np.zeros(SHAPE)))[1] for _ in range(2))
    assert one[0].payload == other[0].payload


def test_the_colour_of_a_lesion_is_its_labels():
    _, (written,) = structure_sets(ct_series(np.zeros(SHAPE)))
    assert tuple(parsed(written).ROIContourSequence[2].ROIDisplayColor) == NODULE.colour_rgb
