"""Several stacks in one series: the declared one is read, or none."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.datadict import tag_for_keyword

from dicomnode.domain.model import SPLITTERS, InputRole, SpacingLimits
from dicomnode.errors import DuplicatePositions, MissingGeometry, MissingSlices, MixedOrientation, NoSuitableSeries
from dicomnode.read.series import load
from tests.builders import affine_lps, ct_series, enhanced_ct, mr_series, uid_of, write_series

RNG = np.random.default_rng(5)
VALUES = RNG.integers(0, 2000, (4, 5, 12, 10))
NUMBERS = {"AcquisitionNumber": (2, 10, 1, 7), "TemporalPositionIdentifier": (1, 2, 3, 4),
           "EchoTime": (90, 30, 9.5, 60), "TriggerTime": (0, 250, 500, 750), "DiffusionBValue": (1000, 0, 500, 50)}


def named(number):
    return lambda k: uid_of(number, k)


def several(keyword, values, folder):
    """The files of one MR series of as many stacks as values, each in the same places."""
    series = [image for number, value in enumerate(values)
              for image in mr_series(VALUES[number], **{keyword: value, "SOPInstanceUID": named(number)})]
    return write_series(folder, series)


def role(by="", take="first"):
    return InputRole(role="x", modality="MR", split_by=by, split_take=take)


@pytest.mark.parametrize("keyword", NUMBERS)
@pytest.mark.parametrize(("take", "pick"), [("first", np.argmin), ("last", np.argmax), ("2", None)])
def test_the_declared_stack_is_read_and_the_report_will_say_so(tmp_path, keyword, take, pick):
    values = NUMBERS[keyword]
    paths = several(keyword, values, tmp_path)
    if pick is None:
        take = str(values[2])
    number = 2 if pick is None else int(pick(values))
    loaded = load(paths[::-1], role(keyword, take))
    np.testing.assert_array_equal(loaded.volume.values_zyx, VALUES[number])
    assert {source.SOPInstanceUID for source in loaded.sources} == {uid_of(number, k) for k in range(5)}
    (said,) = loaded.warnings
    assert said == (f"the series holds 4 stacks by {keyword}; the one with {keyword} = {values[number]:g} was analysed "
                    "(5 of 20 slices)")


def test_stacks_are_never_chosen_where_the_model_file_declares_nothing(tmp_path):
    with pytest.raises(DuplicatePositions, match=r"split_by \(EchoTime has 4 values\)"):
        load(several("EchoTime", NUMBERS["EchoTime"], tmp_path), role())


def test_a_stack_is_named_by_a_part_of_its_image_type(tmp_path):
    kinds = [["ORIGINAL", "PRIMARY", kind, "NONE"] for kind in ("M", "P", "R", "I")]
    loaded = load(several("ImageType", kinds, tmp_path), role("ImageType", "p"))
    np.testing.assert_array_equal(loaded.volume.values_zyx, VALUES[1])


def test_a_value_that_no_image_has_takes_nothing(tmp_path):
    with pytest.raises(NoSuitableSeries, match=r"no stack with EchoTime = 33.*9\.5, 30, 60, 90"):
        load(several("EchoTime", NUMBERS["EchoTime"], tmp_path), role("EchoTime", "33"))


def test_an_attribute_that_tells_nothing_apart_leaves_the_refusal(tmp_path):
    with pytest.raises(DuplicatePositions, match="EchoTime has 4 values"):
        load(several("EchoTime", NUMBERS["EchoTime"], tmp_path), role("TriggerTime"))


def test_stacks_that_the_attribute_does_not_tell_apart_stay_refused(tmp_path):
    with pytest.raises(DuplicatePositions, match=r"5 images share places|6 images share places"):
        load(several("EchoTime", (30, 30, 90, 90), tmp_path), role("EchoTime"))


def test_a_series_that_is_one_stack_is_not_split(tmp_path):
    """Step and shoot: each slice is an acquisition of its own, at a place of its own."""
    loaded = load(write_series(tmp_path, ct_series(VALUES[0], AcquisitionNumber=lambda k: k + 1)),
                  InputRole(role="ct", split_by="AcquisitionNumber"))
    np.testing.assert_array_equal(loaded.volume.values_zyx, VALUES[0])
    assert loaded.warnings == ()


def entwined(folder, keyword, apart_mm):
    """Ten slices of two stacks 2 mm apart, the second lying beside the first."""
    series = [*ct_series(VALUES[0], **{keyword: 1}),
              *ct_series(VALUES[1], affine=affine_lps(origin_mm=(-32, -40, 100 + apart_mm)),
                         SOPInstanceUID=named(1), **{keyword: 2})]
    return write_series(folder, series)


LAX = SpacingLimits(uneven=1.0)


@pytest.mark.parametrize(("keyword", "apart_mm"), [
    ("TemporalPositionIdentifier", 0.02), ("TemporalPositionIdentifier", 0.7), ("TemporalPositionIdentifier", 1.0),
    ("AcquisitionNumber", 0.02), ("AcquisitionNumber", 0.7)])
def test_phases_whose_slices_lie_between_one_another_are_no_one_stack(tmp_path, keyword, apart_mm):
    paths = entwined(tmp_path, keyword, apart_mm)
    with pytest.raises(DuplicatePositions, match=f"2 stacks lie between one another, told apart by {keyword}"):
        load(paths, InputRole(role="ct", spacing_mm=LAX))
    loaded = load(paths, InputRole(role="ct", spacing_mm=LAX, split_by=keyword, split_take="last"))
    np.testing.assert_array_equal(loaded.volume.values_zyx, VALUES[1])
    assert "(5 of 10 slices)" in loaded.warnings[0]


def test_a_ct_made_in_two_passes_at_even_distances_is_one_stack_unless_it_is_to_be_split(tmp_path):
    paths = entwined(tmp_path, "AcquisitionNumber", 1.0)
    loaded = load(paths, InputRole(role="ct"))
    np.testing.assert_array_equal(loaded.volume.values_zyx[::2], VALUES[0])
    np.testing.assert_array_equal(loaded.volume.values_zyx[1::2], VALUES[1])
    split = load(paths, InputRole(role="ct", split_by="AcquisitionNumber"))
    np.testing.assert_array_equal(split.volume.values_zyx, VALUES[0])


@pytest.mark.parametrize("number", [lambda k: k % 6 + 1, lambda k: (k // 2) % 3 + 1, lambda k: k + 1],
                         ids=["counted anew in each group", "two slices a turn, counted anew", "one each"])
@pytest.mark.parametrize("role", [InputRole(role="ct"), InputRole(role="ct", split_by="AcquisitionNumber")],
                         ids=["", "split"])
def test_numbers_of_single_turns_of_the_tube_are_no_stacks(tmp_path, number, role):
    whole = VALUES[:3, :4].reshape(12, 12, 10)
    loaded = load(write_series(tmp_path, ct_series(whole, AcquisitionNumber=number)), role)
    np.testing.assert_array_equal(loaded.volume.values_zyx, whole)


def test_passes_of_an_mr_and_acquisitions_one_after_the_other_are_one_stack(tmp_path):
    passes = mr_series(VALUES[0], AcquisitionNumber=lambda k: k % 2 + 1)
    loaded = load(write_series(tmp_path / "mr", passes), role("AcquisitionNumber"))
    np.testing.assert_array_equal(loaded.volume.values_zyx, VALUES[0])
    slabs = ct_series(VALUES[0], AcquisitionNumber=lambda k: k // 3 + 1)
    loaded = load(write_series(tmp_path / "ct", slabs), InputRole(role="ct", split_by="AcquisitionNumber"))
    np.testing.assert_array_equal(loaded.volume.values_zyx, VALUES[0])


def test_orientations_of_one_series_are_told_apart_by_acquisition(tmp_path):
    sagittal = affine_lps(row=(0, 1, 0), column=(0, 0, -1))
    series = [*ct_series(VALUES[0], AcquisitionNumber=1),
              *ct_series(VALUES[1], affine=sagittal, AcquisitionNumber=2, SOPInstanceUID=lambda k: uid_of("s", k))]
    paths = write_series(tmp_path, series)
    with pytest.raises(MixedOrientation, match="5 of 10 images are not parallel"):
        load(paths, InputRole(role="ct"))
    loaded = load(paths, InputRole(role="ct", split_by="AcquisitionNumber", split_take="2"))
    np.testing.assert_array_equal(loaded.volume.values_zyx, VALUES[1])


def stacks_of_one_image():
    """One Enhanced image that holds two stacks in the same places."""
    built = enhanced_ct(np.concatenate([VALUES[0], VALUES[1]]))
    frames = built.PerFrameFunctionalGroupsSequence
    for index, frame in enumerate(frames):
        frame.FrameContentSequence[0].StackID = "1" if index < 5 else "2"
        frame.PlanePositionSequence[0].ImagePositionPatient = \
            frames[index % 5].PlanePositionSequence[0].ImagePositionPatient
    return built


@pytest.mark.parametrize(("take", "number"), [("first", 0), ("last", 1)])
def test_one_of_several_stacks_inside_one_enhanced_image_is_read(tmp_path, take, number):
    paths = write_series(tmp_path, [stacks_of_one_image()])
    with pytest.raises(DuplicatePositions, match="StackID has 2 values"):
        load(paths, InputRole(role="ct"))
    loaded = load(paths, InputRole(role="ct", split_by="StackID", split_take=take))
    np.testing.assert_array_equal(loaded.volume.values_zyx, VALUES[number])
    assert [plane.frame for plane in loaded.volume.stack.planes] == [5 * number + k + 1 for k in range(5)]
    assert len(loaded.sources) == 1


def test_every_attribute_that_may_split_is_a_keyword_of_the_standard():
    assert all(tag_for_keyword(keyword) for keyword in SPLITTERS)


def gapped(folder, missing):
    """Ten slices 2 mm apart without some of them."""
    series = ct_series(np.zeros((10, 6, 5)))
    return write_series(folder, [image for k, image in enumerate(series) if k not in missing])


def test_a_gap_within_the_declared_limit_is_read_with_its_true_places(tmp_path):
    stack = load(gapped(tmp_path, {4}), InputRole(role="ct", spacing_mm=SpacingLimits(max_gap=4.0))).volume.stack
    np.testing.assert_allclose(stack.gaps_mm, [2, 2, 2, 4, 2, 2, 2, 2])
    assert stack.slice_volumes_ml.sum() == pytest.approx((18 + 2) * 1 * 1 / 1000)


def test_a_gap_beyond_the_declared_limit_names_both(tmp_path):
    with pytest.raises(MissingSlices, match=r"gap of 6\.0 mm after slice 4 .*where 2\.0 mm.*bridges gaps up to 4 mm"):
        load(gapped(tmp_path, {4, 5}), InputRole(role="ct", spacing_mm=SpacingLimits(max_gap=4.0)))


def test_the_limit_for_gaps_excuses_no_stack_without_a_place(tmp_path):
    paths = write_series(tmp_path, ct_series(np.zeros((3, 6, 5)), FrameOfReferenceUID=None))
    with pytest.raises(MissingGeometry):
        load(paths, InputRole(role="ct", spacing_mm=SpacingLimits(max_gap=100.0)))
