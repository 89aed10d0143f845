from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicomnode.domain.model import SpacingLimits
from dicomnode.errors import (
    DuplicatePositions,
    GantryTilt,
    IrregularSpacing,
    MissingGeometry,
    MissingSlices,
    MixedFrameOfReference,
    MixedMatrix,
    MixedOrientation,
    MixedPixelSpacing,
    NoSuitableSeries,
    OutsideIntendedUse,
)
from dicomnode.read.geometry import planes_of
from dicomnode.read.preflight import preflight
from tests.builders import affine_lps, ct_series, enhanced_ct

HU = np.zeros((20, 8, 6))
STRICT = SpacingLimits()


def moved(k_to_mm):
    """Slices of which slice k lies ``k_to_mm[k]`` along z."""
    series = ct_series(np.zeros((len(k_to_mm), 8, 6)))
    for image, z in zip(series, k_to_mm, strict=True):
        image.ImagePositionPatient = [0, 0, float(z)]
    return series


def test_slices_are_sorted_along_the_normal_whatever_their_number_says():
    series = ct_series(HU, InstanceNumber=lambda k: 100 - 3 * k)
    stack = planes_of(series[7:] + series[6::-1])
    assert np.diff(stack.along_normal_mm) == pytest.approx(2.0)
    np.testing.assert_allclose(stack.affine_lps_mm, affine_lps(), atol=1e-9)


def test_a_column_that_runs_to_the_head_turns_the_order_of_slices():
    affine = affine_lps(column=(0, -1, 0))
    stack = planes_of(ct_series(HU, affine=affine))
    np.testing.assert_allclose(stack.affine_lps_mm, affine, atol=1e-9)
    assert stack.normal_lps[2] == -1


def test_frames_of_an_enhanced_image_are_sorted_and_keep_their_frame_number():
    order = [3, 0, 2, 1]
    stack = planes_of([enhanced_ct(HU[:4], order=order)])
    assert [order[plane.frame - 1] for plane in stack.planes] == [0, 1, 2, 3]
    preflight(stack, STRICT)


def test_a_regular_stack_passes_the_preflight():
    stack = planes_of(ct_series(HU))
    preflight(stack, STRICT)
    assert stack.is_regular


def test_a_missing_slice_is_named_by_gap_place_and_spacing():
    series = ct_series(HU)
    del series[12]
    says = r"^gap of 4\.0 mm after slice 12 \(between Instance Numbers 12 and 14\) where 2\.0 mm is the spacing"
    with pytest.raises(MissingSlices, match=says):
        preflight(planes_of(series), STRICT)


def test_a_refusal_says_the_numbers_that_viewers_show_where_they_are_others():
    series = ct_series(HU, InstanceNumber=lambda k: 120 - k)
    series[7].ImagePositionPatient = [-30.0, -40.0, 114.0]
    with pytest.raises(IrregularSpacing, match=r"slice 8 \(Instance Number 113\) lies 2\.00 mm beside it"):
        preflight(planes_of(series), STRICT)
    del series[12]
    with pytest.raises(MissingSlices, match=r"after slice 12 \(between Instance Numbers 109 and 107\) where"):
        preflight(planes_of(series), STRICT)


@pytest.mark.parametrize("number", [None, 1])
def test_instance_numbers_that_are_absent_or_the_same_are_not_said(number):
    series = ct_series(HU, InstanceNumber=number)
    del series[12]
    with pytest.raises(MissingSlices, match="after slice 12 where"):
        preflight(planes_of(series), STRICT)


@pytest.mark.parametrize("uneven", [0.02, 0.6, 1.0])
def test_a_gap_wider_than_may_be_bridged_is_refused_however_uneven_slices_may_lie(uneven):
    stack = planes_of(moved([0, 4, 8, 12, 19, 23]))
    limits = SpacingLimits(uneven=uneven, max_gap=5)
    with pytest.raises(MissingSlices, match=r"gap of 7\.0 mm after slice 4 where 4\.0 mm.*bridges gaps up to 5 mm"):
        preflight(stack, limits)
    preflight(stack, SpacingLimits(uneven=uneven, max_gap=7))


def test_uneven_slices_are_refused_beyond_the_declared_fraction():
    uneven = moved([0, 2, 4.3, 6, 8, 10])
    with pytest.raises(IrregularSpacing, match=r"1\.70 to 2\.30 mm apart"):
        preflight(planes_of(uneven), STRICT)
    preflight(planes_of(uneven), SpacingLimits(uneven=0.16))


def test_positions_rounded_to_a_hundredth_of_a_millimetre_pass():
    stack = planes_of(moved([0, 0.63, 1.25, 1.88, 2.5, 3.13, 3.75]))
    preflight(stack, STRICT)
    assert np.ptp(stack.gaps_mm) == pytest.approx(0.01)


def test_two_images_at_one_place_are_refused_and_the_phase_is_named():
    both = ct_series(HU, AcquisitionNumber=1) + ct_series(HU, AcquisitionNumber=2)
    for k, image in enumerate(both):
        image.SOPInstanceUID = f"1.2.{k}"
    with pytest.raises(DuplicatePositions, match="AcquisitionNumber has 2 values"):
        planes_of(both)


@pytest.mark.parametrize("digits", [4, 5, 6])
def test_an_upright_oblique_stack_whose_cosines_have_few_digits_does_not_lean(digits):
    row, column = np.array([0.9, 0.3, -0.316]), np.array([-0.2, 0.93, 0.313])
    row /= np.linalg.norm(row)
    column -= (column @ row) * row
    column /= np.linalg.norm(column)
    series = ct_series(HU, affine=affine_lps(row=row, column=column))
    for shift in (0.0, 1e-4, -1e-4):
        for image in series:
            image.ImageOrientationPatient = [f"{value * (1 + shift):.{digits}f}" for value in (*row, *column)]
        stack = planes_of(series)
        preflight(stack, STRICT)
        assert stack.tilt_deg < 0.01


def test_a_tilted_stack_is_refused_unless_the_model_allows_the_angle():
    stack = planes_of(ct_series(HU, affine=affine_lps(tilt_deg=12)))
    with pytest.raises(GantryTilt, match=r"12\.0°.*at most 0°"):
        preflight(stack, STRICT)
    preflight(stack, SpacingLimits(tilt_deg=15))


def test_a_slice_shifted_within_its_plane_is_refused():
    series = ct_series(HU)
    series[7].ImagePositionPatient = [-30.0, -40.0, 114.0]
    with pytest.raises(IrregularSpacing, match=r"slice 8 lies 2\.00 mm beside it"):
        preflight(planes_of(series), STRICT)


def test_slices_too_far_apart_for_the_model_are_outside_its_use():
    stack = planes_of(ct_series(HU, affine=affine_lps(spacing_zyx_mm=(7, 1, 1))))
    with pytest.raises(OutsideIntendedUse, match=r"7\.00 mm apart.*0 to 5 mm"):
        preflight(stack, SpacingLimits(max_between_slices=5))


@pytest.mark.parametrize(("limits", "says"), [
    (SpacingLimits(uneven=0.9, max_between_slices=3), r"slices lie 3\.50 mm apart.*0 to 3 mm"),
    (SpacingLimits(uneven=0.9, min_between_slices=1), r"slices lie 0\.50 mm apart.*1 to inf mm"),
])
def test_of_uneven_slices_each_gap_must_lie_within_the_models_limits(limits, says):
    stack = planes_of(moved([0, 2, 4, 4.5, 8, 10]))
    with pytest.raises(OutsideIntendedUse, match=says):
        preflight(stack, limits)


def test_a_gap_that_is_bridged_is_no_distance_between_slices():
    stack = planes_of(moved([0, 2, 4, 10, 12]))
    preflight(stack, SpacingLimits(max_gap=6, max_between_slices=2))
    assert stack.gaps_mm.max() == pytest.approx(6.0)
    assert stack.slice_spacing_mm == pytest.approx(2.0)


def test_pixels_too_coarse_for_the_model_are_outside_its_use():
    with pytest.raises(OutsideIntendedUse, match=r"pixels lie 1\.00 mm"):
        preflight(planes_of(ct_series(HU)), SpacingLimits(max_in_plane=0.8))


def test_one_slice_is_a_stack():
    stack = planes_of(ct_series(HU[:1]))
    preflight(stack, STRICT)
    assert stack.slice_spacing_mm == 2.0


@pytest.mark.parametrize("thickness", [None, "0", "nan", "inf", "-2"])
def test_one_slice_without_a_thickness_has_no_volume_and_is_refused(thickness):
    (image,) = ct_series(HU[:1])
    _as_written(image, "SliceThickness", thickness)
    with pytest.raises(MissingGeometry, match="a single slice without Slice Thickness"):
        preflight(planes_of([image]), STRICT)


@pytest.mark.parametrize("spacing", ["1.0\\nan", "nan\\1.0", "1.0\\inf", "0\\1"])
def test_a_pixel_spacing_that_is_no_length_is_refused(spacing):
    series = ct_series(HU)
    for image in series:
        _as_written(image, "PixelSpacing", spacing)
    with pytest.raises(MissingGeometry, match=r"PixelSpacing|pixel_spacing_mm"):
        planes_of(series)


def _as_written(image: Dataset, keyword: str, text: str | None) -> None:
    """Put an attribute's bytes as a file could hold them, legal or not; None takes it out."""
    tag = tag_for_keyword(keyword)
    if text is None:
        del image[tag]
    else:
        raw = text.encode()
        image[tag] = RawDataElement(Tag(tag), "DS", len(raw), raw, 0, is_implicit_VR=False, is_little_endian=True)


@pytest.mark.parametrize(("keyword", "value", "error"), [
    ("ImageOrientationPatient", [1, 0, 0, 0, 0, -1], MixedOrientation),
    ("PixelSpacing", [1.0, 1.1], MixedPixelSpacing),
    ("Rows", 9, MixedMatrix),
    ("FrameOfReferenceUID", "1.2.3", MixedFrameOfReference),
    ("SeriesInstanceUID", "1.2.3", NoSuitableSeries),
    ("StudyInstanceUID", "1.2.3", NoSuitableSeries),
])
def test_one_image_unlike_the_others_is_refused_for_what_differs(keyword, value, error):
    series = ct_series(HU)
    setattr(series[5], keyword, value)
    with pytest.raises(error):
        planes_of(series)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_an_image_without_its_place_is_refused_by_uid_and_keyword(keyword):
    series = ct_series(HU)
    del series[5][keyword]
    with pytest.raises(MissingGeometry, match=rf"{series[5].SOPInstanceUID}: {keyword} is absent"):
        planes_of(series)


def test_cosines_that_are_no_right_angle_are_refused():
    with pytest.raises(MissingGeometry, match="not orthonormal"):
        planes_of(ct_series(HU, ImageOrientationPatient=[1, 0, 0, 0.5, 1, 0]))


def test_a_stack_without_frame_of_reference_is_refused_last():
    stack = planes_of(ct_series(HU, FrameOfReferenceUID=None))
    with pytest.raises(MissingGeometry, match="FrameOfReferenceUID is absent"):
        preflight(stack, STRICT)


def test_no_image_is_no_stack():
    with pytest.raises(NoSuitableSeries):
        planes_of([])


@pytest.mark.parametrize("claimed", [3, 5, 65535])
def test_an_enhanced_image_that_claims_other_frames_than_it_describes_is_refused(claimed):
    with pytest.raises(MissingGeometry, match=f"NumberOfFrames = {claimed}, its functional groups describe 4"):
        planes_of([enhanced_ct(HU[:4], NumberOfFrames=claimed)])


def test_an_enhanced_image_whose_frames_miss_a_position_is_refused_by_frame():
    built = enhanced_ct(HU[:4])
    del built.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    with pytest.raises(MissingGeometry, match=r"\(frame 3\): ImagePositionPatient"):
        planes_of([built])
