"""Presentation states: boxes where the findings are, images shown as they show themselves."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicomnode.domain.volume import Volume
from dicomnode.encode.gsps import encode_gsps
from tests.builders import affine_lps, ct_series, dataset, enhanced_ct
from tests.findings import NODULE, block, findings, parsed, stack_of, stamp

SHAPE = (6, 40, 50)
LOW = block(SHAPE, slice(1, 3), slice(10, 16), slice(4, 9))
HIGH = block(SHAPE, slice(4, 5), slice(30, 36), slice(44, 50))


def states(series, *, values=None):
    found = findings(stack_of(series), np.zeros(SHAPE, np.uint8), lesions=(LOW, HIGH))
    uid = found.stack.series_uid
    volumes = {} if values is None else {
        uid: Volume(values_zyx=values, stack=found.stack, modality=series[0].Modality)}
    return [parsed(one) for one in encode_gsps([found], volumes, {uid: series}, stamp())]


def boxes(state: Dataset):
    """(image, frame) → corners of each box, as (column, row) pairs."""
    found = {}
    for one in state.GraphicAnnotationSequence:
        (image,) = one.ReferencedImageSequence
        for drawn in one.GraphicObjectSequence:
            key = image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber", 1)
            found.setdefault(key, []).append(np.array(drawn.GraphicData).reshape(-1, 2).tolist())
    return found


def test_each_finding_has_a_closed_box_round_its_voxels_on_its_key_slice():
    series = ct_series(np.zeros(SHAPE))
    (state,) = states(series)
    assert boxes(state) == {
        (series[1].SOPInstanceUID, 1): [[[4, 10], [9, 10], [9, 16], [4, 16], [4, 10]]],
        (series[4].SOPInstanceUID, 1): [[[44, 30], [50, 30], [50, 36], [44, 36], [44, 30]]]}


def test_the_text_says_what_it_is_how_large_how_probable_and_that_nobody_verified_it():
    (state,) = states(ct_series(np.zeros(SHAPE)))
    texts = [one.TextObjectSequence[0].UnformattedTextValue.splitlines() for one in state.GraphicAnnotationSequence]
    assert texts[0] == ["Nodule 1 left", "6.5 mm, probability 0.90", "AI - NOT VERIFIED"]
    assert state.SeriesDescription == "AI boxes demo_chest - NOT VERIFIED"
    assert state.ContentQualification == "RESEARCH"


def test_every_text_lies_inside_the_image():
    (state,) = states(ct_series(np.zeros(SHAPE)))
    for one in state.GraphicAnnotationSequence:
        text = one.TextObjectSequence[0]
        (left, top), (right, bottom) = text.BoundingBoxTopLeftHandCorner, text.BoundingBoxBottomRightHandCorner
        assert 0 <= left < right <= SHAPE[2]
        assert 0 <= top < bottom <= SHAPE[1]


def test_frames_of_a_multi_frame_image_are_named():
    order = [5, 4, 3, 2, 1, 0]
    image = enhanced_ct(np.zeros(SHAPE), order=order)
    (state,) = states([image])
    assert set(boxes(state)) == {(image.SOPInstanceUID, order.index(1) + 1), (image.SOPInstanceUID, order.index(4) + 1)}
    (referenced,) = state.ReferencedSeriesSequence[0].ReferencedImageSequence
    assert referenced.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert (state.RescaleIntercept, state.SoftcopyVOILUTSequence[0].WindowWidth) == (-1024, 400)


def test_only_the_first_of_several_windows_is_repeated():
    (state,) = states(ct_series(np.zeros(SHAPE), WindowCenter=["40", "-600"], WindowWidth=["350", "1500"],
                                WindowCenterWidthExplanation=["SOFT", "LUNG"]))
    (window,) = state.SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth, window.WindowCenterWidthExplanation) == (40, 350, "SOFT")
    assert "ReferencedImageSequence" not in window


def test_slices_with_windows_of_their_own_keep_them():
    series = ct_series(np.zeros(SHAPE), WindowCenter=lambda k: str(10 * k), WindowWidth="400")
    (state,) = states(series)
    assert {item.ReferencedImageSequence[0].ReferencedSOPInstanceUID: item.WindowCenter
            for item in state.SoftcopyVOILUTSequence} == {series[1].SOPInstanceUID: 10, series[4].SOPInstanceUID: 40}


def test_slices_with_another_rescale_get_a_state_of_their_own():
    series = ct_series(np.zeros(SHAPE))
    series[4].RescaleSlope = "2"
    first, second = states(series)
    assert (first.RescaleSlope, list(boxes(first))) == (1, [(series[1].SOPInstanceUID, 1)])
    assert (second.RescaleSlope, list(boxes(second))) == (2, [(series[4].SOPInstanceUID, 1)])
    assert first.SOPInstanceUID != second.SOPInstanceUID


@pytest.mark.parametrize("width", [None, "0", "0.5", ""])
def test_a_source_without_a_window_of_use_is_shown_in_the_range_of_its_values(width):
    series = ct_series(np.zeros(SHAPE), WindowCenter=None if width is None else "40", WindowWidth=width)
    values = np.broadcast_to(np.linspace(-1000, 1000, SHAPE[1] * SHAPE[2]).reshape(SHAPE[1:]), SHAPE)
    (state,) = states(series, values=values.astype(np.int16))
    (window,) = state.SoftcopyVOILUTSequence
    assert abs(window.WindowCenter + 5) < 10
    assert 1900 < window.WindowWidth < 2000


@pytest.mark.parametrize("text", [b"abc ", b"1e999 ", b"nan ", b"--5 "])
def test_a_window_that_is_no_number_stops_nothing(text):
    series = ct_series(np.zeros(SHAPE))
    for one in series:
        del one.WindowCenter
        tag = Tag("WindowCenter")
        one._dict[tag] = RawDataElement(tag, "DS", len(text), text, 0, is_implicit_VR=False, is_little_endian=True)
    (state,) = states(series, values=np.full(SHAPE, 50, np.int16))
    assert (state.SoftcopyVOILUTSequence[0].WindowCenter, state.SoftcopyVOILUTSequence[0].WindowWidth) == (50, 1)


def test_frames_with_windows_of_their_own_keep_them():
    image = enhanced_ct(np.zeros(SHAPE))
    del image.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence
    for number, group in enumerate(image.PerFrameFunctionalGroupsSequence):
        group.FrameVOILUTSequence = [dataset(WindowCenter=str(10 * number), WindowWidth="400")]
    (state,) = states([image])
    assert {item.ReferencedImageSequence[0].ReferencedFrameNumber: item.WindowCenter
            for item in state.SoftcopyVOILUTSequence} == {2: 10, 5: 40}


def test_a_voi_table_is_repeated():
    table = dataset(LUTDescriptor=[4, 0, 16], LUTData=[0, 1, 2, 3], LUTExplanation="STEEP")
    (state,) = states(ct_series(np.zeros(SHAPE), WindowCenter=None, WindowWidth=None, VOILUTSequence=[table]))
    assert state.SoftcopyVOILUTSequence[0].VOILUTSequence[0].LUTExplanation == "STEEP"


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_polarity_is_kept(photometric, shape):
    (state,) = states(ct_series(np.zeros(SHAPE), PhotometricInterpretation=photometric))
    assert state.PresentationLUTShape == shape


def test_the_whole_image_is_shown_in_its_true_proportions():
    (state,) = states(ct_series(np.zeros(SHAPE), affine=affine_lps(spacing_zyx_mm=(2, 1.5, 0.75))))
    (area,) = state.DisplayedAreaSelectionSequence
    assert list(area.PresentationPixelSpacing) == [1.5, 0.75]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [SHAPE[2], SHAPE[1]]


def test_each_label_is_a_layer_in_its_own_colour():
    (state,) = states(ct_series(np.zeros(SHAPE)))
    (layer,) = state.GraphicLayerSequence
    assert layer.GraphicLayerDescription == f"AI {NODULE.name}"
    assert len(layer.GraphicLayerRecommendedDisplayCIELabValue) == 3


def test_no_finding_gives_no_state():
    series = ct_series(np.zeros(SHAPE))
    found = replace(findings(stack_of(series), np.zeros(SHAPE, np.uint8)), detections=())
    assert encode_gsps([found], {}, {found.stack.series_uid: series}, stamp()) == ()


def test_the_same_findings_give_the_same_bytes():
    one, other = (states(ct_series(np.zeros(SHAPE)))[0] for _ in range(2))
    assert one == other
