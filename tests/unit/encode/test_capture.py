"""The summary page: what is burned in, what is not, and that it is a picture and no image to measure in."""

from dataclasses import replace

import numpy as np

from dicomnode.domain.volume import Volume
from dicomnode.encode.capture import encode_capture
from dicomnode.encode.picture import tiles_of
from tests.builders import affine_lps, ct_series
from tests.findings import LUNG, NODULE, block, findings, parsed, provenance, stack_of, stamp

SHAPE = (9, 32, 32)
SPOT = block(SHAPE, slice(6, 8), slice(10, 14), slice(10, 16))


def a_case(values=0, **attributes: object):
    series = ct_series(np.zeros(SHAPE), **attributes)
    stack = stack_of(series)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:6, 4:28, 4:28] = LUNG.value
    volume = Volume(values_zyx=np.full(SHAPE, values, np.int16), stack=stack, modality="CT")
    return findings(stack, mask, lesions=[SPOT]), {stack.series_uid: volume}, {stack.series_uid: series}


def test_the_page_is_rgb_says_that_text_is_burned_in_and_has_no_frame_of_reference():
    found, volumes, sources = a_case()
    result = parsed(encode_capture([found], volumes, sources, stamp()))
    assert result.PhotometricInterpretation == "RGB"
    assert list(result.ImageType) == ["DERIVED", "SECONDARY"]
    assert result.BurnedInAnnotation == "YES"
    assert "FrameOfReferenceUID" not in result
    assert result.SeriesDescription == "AI summary demo_chest - NOT VERIFIED"
    assert result.PatientName == sources[found.stack.series_uid][0].PatientName
    assert result.StudyDescription == "Phantom study"


def test_outlines_are_drawn_in_the_colours_of_the_model_file():
    found, volumes, sources = a_case()
    pixels = parsed(encode_capture([found], volumes, sources, stamp())).pixel_array.reshape(-1, 3)
    for label in (LUNG, NODULE):
        assert (pixels == label.colour_rgb).all(axis=1).sum() > 300


def test_nothing_about_the_patient_is_burned_in():
    somebody = a_case(PatientName="Somebody^Else", PatientID="4711", PatientBirthDate="19010101")
    one, other = (parsed(encode_capture([found], volumes, sources, stamp()))
                  for found, volumes, sources in (a_case(), somebody))
    assert one.PatientID != other.PatientID
    np.testing.assert_array_equal(one.pixel_array, other.pixel_array)


def test_nothing_marked_gives_no_page():
    found, volumes, sources = a_case()
    empty = findings(found.stack, np.zeros(SHAPE, np.uint8))
    assert encode_capture([empty], volumes, sources, stamp()) is None


def test_slices_of_lesions_come_first_and_each_slice_once():
    found, volumes, _ = a_case()
    tiles = tiles_of(found, volumes[found.stack.series_uid])
    assert [tile.index for tile in tiles] == [6, 2, 3]


def test_a_lesion_known_only_by_its_box_is_outlined_too():
    found, volumes, _ = a_case()
    boxed = replace(found, segmentation=None, lesion_zyx=None)
    (tile,) = tiles_of(boxed, volumes[found.stack.series_uid])
    ((mask, colour),) = tile.marks
    np.testing.assert_array_equal(mask, SPOT[6])
    assert colour == NODULE.colour_rgb


def test_the_page_is_the_same_bytes_again():
    one, other = (encode_capture([found], volumes, sources, stamp())
                  for found, volumes, sources in (a_case(), a_case()))
    assert one.payload == other.payload


def test_a_tall_voxel_is_drawn_tall():
    found, volumes, sources = a_case(affine=affine_lps(spacing_zyx_mm=(2, 3, 1)))
    pixels = parsed(encode_capture([found], volumes, sources, stamp())).pixel_array
    rows, columns = np.nonzero((pixels[:440] == LUNG.colour_rgb).all(axis=2))
    first = columns < 384 * 2
    inside = first & (columns >= 384)
    height, width = np.ptp(rows[inside]), np.ptp(columns[inside])
    assert abs(height / width - 3) < 0.15


def test_a_finding_of_two_models_stands_once_on_the_page():
    found, volumes, sources = a_case()
    twin = replace(found, provenance=provenance("detector"), segmentation=None, lesion_zyx=None, organs=(),
                   detections=(replace(found.detections[0], volume_ml=None, probability=0.75),))
    once = parsed(encode_capture([found], volumes, sources, stamp()))
    both = parsed(encode_capture([found, twin], volumes, sources, stamp()))
    assert both.Rows == once.Rows
    alone = parsed(encode_capture([twin], volumes, sources, stamp()))
    assert (alone.pixel_array.reshape(-1, 3) == NODULE.colour_rgb).all(axis=1).sum() > 100
