"""A SEG's frames, sources and geometry, over the shapes that real series have."""

from io import BytesIO

import highdicom as hd
import numpy as np
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.encode.seg import encode_seg
from tests.builders import affine_lps, ct_series, enhanced_ct
from tests.findings import LEFT_KIDNEY, LUNG, block, findings, parsed, stack_of, stamp

SHAPE = (6, 16, 18)


def a_mask(shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    mask[shape[0] // 3:, 2:9, 3:8] = LUNG.value
    mask[shape[0] // 2:, 10:14, 9:16] = LEFT_KIDNEY.value
    return mask


def encoded(series, mask, **changes: object):
    return encode_seg(findings(stack_of(series), mask, **changes), series, stamp())


def frames_by_source(one):
    """(source instance, frame, segment) → the frame's pixels, as highdicom's reader sees them."""
    seg = hd.seg.segread(BytesIO(one.payload))
    found = {}
    for group, pixels in zip(seg.PerFrameFunctionalGroupsSequence, np.atleast_3d(seg.pixel_array), strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        segment = seg.SharedFunctionalGroupsSequence[0] if "SegmentIdentificationSequence" not in group else group
        number = segment.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber", 1), number] = pixels
    return found


def test_no_voxel_gives_no_seg():
    assert encoded(ct_series(np.zeros(SHAPE)), np.zeros(SHAPE, np.uint8)) is None


def test_only_slices_with_voxels_have_frames_and_each_names_its_image():
    series, mask = ct_series(np.zeros(SHAPE)), a_mask()
    found = frames_by_source(encoded(series, mask))
    expected = {(series[z].SOPInstanceUID, 1, number) for z in range(6) for number, value in ((1, 1), (2, 4))
                if (mask[z] == value).any()}
    assert set(found) == expected
    for z, image in enumerate(series):
        for number, value in ((1, LUNG.value), (2, LEFT_KIDNEY.value)):
            if (image.SOPInstanceUID, 1, number) in found:
                np.testing.assert_array_equal(found[image.SOPInstanceUID, 1, number], mask[z] == value)


def test_every_source_image_is_referenced_once_and_the_frame_of_reference_is_the_sources():
    series = ct_series(np.zeros(SHAPE))
    result = parsed(encoded(series, a_mask()))
    assert result.FrameOfReferenceUID == series[0].FrameOfReferenceUID
    (referenced,) = result.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == series[0].SeriesInstanceUID
    assert [item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence] == [
        image.SOPInstanceUID for image in series]


def test_files_in_any_order_give_the_same_seg():
    series = ct_series(np.zeros(SHAPE))
    found = findings(stack_of(series), a_mask())
    assert encode_seg(found, series, stamp()).payload == encode_seg(found, series[::-1], stamp()).payload


def test_frames_of_a_multi_frame_source_are_matched_by_place_not_by_number():
    order = [4, 0, 5, 2, 1, 3]
    image, mask = enhanced_ct(np.zeros(SHAPE), order=order), a_mask()
    found = frames_by_source(encoded([image], mask))
    for z in range(len(mask)):
        frame = order.index(z) + 1
        for number, value in ((1, LUNG.value), (2, LEFT_KIDNEY.value)):
            if (mask[z] == value).any():
                np.testing.assert_array_equal(found[image.SOPInstanceUID, frame, number], mask[z] == value)
    assert all(uid == image.SOPInstanceUID for uid, _, _ in found)


def test_the_position_of_a_multi_frame_seg_frame_is_that_of_its_source_frame():
    order = [2, 0, 1]
    image = enhanced_ct(np.zeros((3, 8, 8)), order=order)
    mask = np.ones((3, 8, 8), np.uint8)
    for group in parsed(encoded([image], mask)).PerFrameFunctionalGroupsSequence:
        number = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        source = image.PerFrameFunctionalGroupsSequence[number - 1]
        np.testing.assert_allclose(group.PlanePositionSequence[0].ImagePositionPatient,
                                   [float(v) for v in source.PlanePositionSequence[0].ImagePositionPatient])


def test_a_stack_of_some_frames_of_a_multi_frame_image_leaves_the_others_out():
    image = enhanced_ct(np.zeros(SHAPE))
    whole = stack_of([image])
    some = type(whole)(
        study_uid=whole.study_uid, series_uid=whole.series_uid, rows=whole.rows, columns=whole.columns,
        frame_of_reference_uid=whole.frame_of_reference_uid, planes=whole.planes[2:5])
    mask = np.ones((3, *SHAPE[1:]), np.uint8)
    found = frames_by_source(encode_seg(findings(some, mask), [image], stamp()))
    assert sorted(frame for _, frame, _ in found) == [3, 4, 5]
    result = parsed(encode_seg(findings(some, mask), [image], stamp()))
    assert result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices == 2
    places = {float(group.PlanePositionSequence[0].ImagePositionPatient[2])
              for group in result.PerFrameFunctionalGroupsSequence}
    assert places == {104, 106, 108}


def test_a_seg_of_one_slice_takes_the_slice_thickness_as_its_spacing():
    series = ct_series(np.zeros((1, 16, 18)), SliceThickness="3.5")
    result = parsed(encoded(series, np.ones((1, 16, 18), np.uint8)))
    measures = result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SpacingBetweenSlices, measures.SliceThickness) == (3.5, 3.5)


def test_a_tilted_stack_keeps_its_original_slices():
    series = ct_series(np.zeros(SHAPE), affine=affine_lps(tilt_deg=18.5))
    result = parsed(encoded(series, np.ones(SHAPE, np.uint8)))
    places = [[float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
              for group in result.PerFrameFunctionalGroupsSequence]
    expected = [[float(v) for v in image.ImagePositionPatient] for image in series]
    np.testing.assert_allclose(sorted(places, key=lambda place: place[2]), expected)


def test_a_gap_in_the_stack_stays_a_gap():
    heights = [100, 102, 104, 110, 112, 114]
    series = ct_series(np.zeros(SHAPE), ImagePositionPatient=lambda k: ["-32", "-40", str(heights[k])])
    result = parsed(encoded(series, np.ones(SHAPE, np.uint8)))
    places = [group.PlanePositionSequence[0].ImagePositionPatient[2]
              for group in result.PerFrameFunctionalGroupsSequence]
    assert sorted(map(float, places)) == heights
    measures = result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert "SpacingBetweenSlices" not in measures


def test_cosines_that_differ_in_the_last_digits_do_not_stop_the_seg():
    series = ct_series(np.zeros(SHAPE), ImageOrientationPatient=lambda k: ["1", f"{k * 1e-6:.6f}", "0", "0", "1", "0"])
    assert encoded(series, a_mask()) is not None


@pytest.mark.parametrize("lossy", [0, 4])
def test_one_lossy_source_makes_the_result_lossy(lossy):
    series = ct_series(np.zeros(SHAPE))
    series[lossy].LossyImageCompression = "01"
    series[lossy].LossyImageCompressionRatio = "12.5"
    series[lossy].LossyImageCompressionMethod = "ISO_15444_1"
    result = parsed(encoded(series, a_mask()))
    assert (result.LossyImageCompression, result.LossyImageCompressionRatio) == ("01", 12.5)


def test_lesions_carry_the_same_tracking_uid_as_the_findings():
    series = ct_series(np.zeros(SHAPE))
    one = encoded(series, a_mask(), lesions=[block(SHAPE, slice(3, 5), slice(4, 6), slice(4, 6))])
    items = parsed(one).SegmentSequence
    assert [item.get("TrackingUID") for item in items] == [None, None, "2.25.1001"]
    assert [item.SegmentNumber for item in items] == [1, 2, 3]
    assert all(item.SegmentAlgorithmType == "AUTOMATIC" for item in items)
    family = items[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmFamilyCodeSequence[0]
    assert family.CodeValue == "123110"


def test_body_part_and_frame_organization_are_kept_and_derived():
    result = parsed(encoded(ct_series(np.zeros(SHAPE)), a_mask()))
    assert result.BodyPartExamined == "CHEST"
    organizations = {item.DimensionOrganizationUID for item in (
        *result.DimensionOrganizationSequence, *result.DimensionIndexSequence)}
    assert organizations == {stamp().derive("dimensions|seg|demo_chest")}


def test_it_says_what_it_is_of_which_model_and_in_which_zone_its_times_are():
    result = parsed(encoded(ct_series(np.zeros(SHAPE), TimezoneOffsetFromUTC="+0800"), a_mask()))
    assert (result.ContentLabel, result.ContentDescription) == ("AI_SEGMENTATION", "demo_chest 1.2")
    assert (result.SegmentationType, result.TimezoneOffsetFromUTC) == ("BINARY", "+0800")
    assert result.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (result.Manufacturer, result.ContentQualification) == ("dicomnode", "RESEARCH")
