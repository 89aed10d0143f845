"""Frames that we write are those that highdicom and pydicom write, to the byte where these have a choice."""

from io import BytesIO

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pydicom import FileMetaDataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from dicomnode.encode import sources as images
from dicomnode.encode.frames import encapsulated, packed, run_lengths
from dicomnode.encode.seg import encode_seg
from dicomnode.encode.segments import describe, label_map, segments_of
from dicomnode.encode.series import Role, identity
from tests.builders import affine_lps, ct_series, dataset, enhanced_ct
from tests.findings import HEART, LEFT_KIDNEY, LUNG, findings, parsed, stack_of, stamp

SHAPE = (6, 15, 19)
"""285 pixels a frame: no multiple of 8, so that frames begin inside bytes."""
OBLIQUE = affine_lps(row=(0.8, 0.6, 0), column=(0, 0, -1), spacing_zyx_mm=(3.0, 0.75, 0.6), origin_mm=(10, -60, 80))
SINGLE = Role(kind="SEG", group="seg", name="x", slot=1, subject="segmentation", models=("m",))


def a_mask(values, shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    for number, value in enumerate(values):
        mask[1 + number: 4 + number, 2:9, 3 + 4 * number: 7 + 4 * number] = value
    return mask


def plain(found, series):
    """The same findings as highdicom by itself writes them."""
    segments, several = segments_of(found), images.is_multiframe(series[0])
    known = images.by_instance(series, found.stack)
    head = images.head_of(series[0])
    light = images.multi_frame(images.unnamed(head), found.stack, series[0]) if several \
        else images.single_frame(images.unnamed(head), found.stack, known)
    numbers = label_map(found, segments)
    pixels = np.zeros_like(numbers)
    for k, plane in enumerate(found.stack.planes):
        pixels[plane.frame - 1 if several else k] = numbers[k]
    made = hd.seg.Segmentation(
        source_images=light, pixel_array=pixels, segmentation_type="BINARY", omit_empty_frames=True,
        segment_descriptions=[describe(one, found) for one in segments],
        transfer_syntax_uid=ExplicitVRLittleEndian, **identity(stamp(), SINGLE))
    buffer = BytesIO()
    made.save_as(buffer)
    return dcmread(BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("values", [[LUNG.value], [LUNG.value, HEART.value, LEFT_KIDNEY.value]])
@pytest.mark.parametrize("series", [
    ct_series(np.zeros(SHAPE)), ct_series(np.zeros(SHAPE), affine=OBLIQUE),
    [enhanced_ct(np.zeros(SHAPE), order=[3, 1, 0, 2, 5, 4])]], ids=["axial", "oblique", "enhanced"])
def test_frames_and_their_functional_groups_are_those_of_highdicom(series, values):
    found = findings(stack_of(series), a_mask(values))
    ours, theirs = parsed(encode_seg(found, series, stamp())), plain(found, series)
    assert ours.NumberOfFrames == theirs.NumberOfFrames
    assert (ours.Rows, ours.Columns) == (theirs.Rows, theirs.Columns)
    assert ours.PerFrameFunctionalGroupsSequence == theirs.PerFrameFunctionalGroupsSequence
    assert ours.SharedFunctionalGroupsSequence == theirs.SharedFunctionalGroupsSequence
    np.testing.assert_array_equal(ours.pixel_array, theirs.pixel_array)
    assert ours.get("DimensionOrganizationType") == theirs.get("DimensionOrganizationType")
    assert {element.keyword for element in theirs} - {element.keyword for element in ours} <= {"ContentLabel"}


@settings(max_examples=60, deadline=None)
@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=17)))
def test_packed_frames_follow_one_another_without_padding(frames):
    element = b"".join(packed(list(frames), len(frames), frames[0].size))
    bits = np.unpackbits(np.frombuffer(element[12:], np.uint8), bitorder="little")[: frames.size]
    np.testing.assert_array_equal(bits.reshape(frames.shape), frames)
    assert len(element) % 2 == 0
    assert int.from_bytes(element[8:12], "little") == len(element) - 12


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda kind: arrays(kind, array_shapes(min_dims=3, max_dims=3, max_side=200), elements=st.sampled_from([0, 1, 9]))))
def test_runs_are_read_back_by_pydicom(frames):
    bits = 8 * frames.dtype.itemsize
    image = dataset(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.66.7", SOPInstanceUID="2.25.1", NumberOfFrames=len(frames),
        Rows=frames.shape[1], Columns=frames.shape[2], SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=0)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = RLELossless
    buffer = BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    buffer.writelines(encapsulated([run_lengths(frame) for frame in frames]))
    read = dcmread(BytesIO(buffer.getvalue())).pixel_array
    np.testing.assert_array_equal(read.reshape(frames.shape), frames)


def test_no_run_crosses_a_row():
    assert run_lengths(np.zeros((3, 200), np.uint8))[64:] == bytes([129, 0, 257 - 72, 0]) * 3
