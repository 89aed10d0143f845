"""Labels that share voxels stay whole from the bits of a mask to the frames of a SEG, and for other readers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pytest

from dicomnode.domain.findings import Segmentation
from dicomnode.encode.seg import encode_seg
from dicomnode.encode.segments import segments_of
from tests.builders import affine_lps, ct_series, enhanced_ct
from tests.findings import HEART, LUNG, NODULE, block, findings, lesion, parsed, stack_of, stamp

SHAPE = (6, 16, 18)
OBLIQUE = affine_lps(row=(0.8, 0.6, 0), column=(0, 0, -1), spacing_zyx_mm=(3.0, 0.75, 0.6), origin_mm=(10, -60, 80))
WHOLE = replace(LUNG, value=1, name="Whole tumour")
CORE = replace(HEART, value=2, name="Tumour core")
ACTIVE = replace(NODULE, value=3, name="Active tumour")
MASKS = (block(SHAPE, slice(1, 6), slice(2, 14), slice(1, 15)), block(SHAPE, slice(2, 5), slice(4, 9), slice(3, 9)),
         block(SHAPE, slice(3, 4), slice(5, 9), slice(4, 7)))


def nested(series):
    """A core inside a tumour, and an active part, which is a lesion, inside the core."""
    stack = stack_of(series)
    whole, core, active = MASKS
    bits = (whole * 1 + core * 2 + active * 4).astype(np.uint8)
    return replace(
        findings(stack, np.zeros(SHAPE, np.uint8)),
        segmentation=Segmentation(mask_zyx=bits, stack=stack, labels=(WHOLE, CORE, ACTIVE), overlapping=True),
        lesion_zyx=active.astype(np.uint16), detections=(lesion(active, label=ACTIVE),))


def drawn(one, found):
    """The voxels of each segment, as highdicom's reader gives them."""
    seg = hd.seg.segread(BytesIO(one.payload))
    sources = [plane.instance.sop_instance_uid for plane in found.stack.planes]
    return seg, np.moveaxis(seg.get_pixels_by_source_instance(sources, assert_missing_frames_are_empty=True), -1, 0) > 0


def test_each_label_keeps_every_voxel_and_the_seg_says_that_segments_overlap():
    series = ct_series(np.zeros(SHAPE))
    found = nested(series)
    assert [segment.label.name for segment in segments_of(found)] == ["Whole tumour", "Tumour core", "Active tumour"]
    seg, voxels = drawn(encode_seg(found, series, stamp()), found)
    assert seg.SegmentsOverlap == "YES"
    assert seg.SegmentSequence[2].TrackingUID == found.detections[0].tracking_uid
    np.testing.assert_array_equal(voxels, MASKS)


def test_the_frames_of_an_enhanced_image_are_met_in_their_own_order():
    series = [enhanced_ct(np.zeros(SHAPE), order=[3, 1, 0, 2, 5, 4])]
    found = nested(series)
    seg = parsed(encode_seg(found, series, stamp()))
    pixels = {}
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        pixels[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber, source] = frame > 0
    for number, mask in enumerate(MASKS, start=1):
        for plane, expected in zip(found.stack.planes, mask, strict=True):
            frame = pixels.get((number, plane.frame), np.zeros(SHAPE[1:], bool))
            np.testing.assert_array_equal(frame, expected)


def test_two_lesions_that_share_voxels_are_two_whole_segments():
    series = ct_series(np.zeros(SHAPE))
    whole, core, _active = MASKS
    found = replace(
        nested(series), segmentation=None, lesion_zyx=whole.astype(np.uint16),
        lesion_layers=(core.astype(np.uint16) * 2,),
        detections=(lesion(whole, 1, label=ACTIVE), lesion(core, 2, label=ACTIVE)))
    _seg, voxels = drawn(encode_seg(found, series, stamp()), found)
    np.testing.assert_array_equal(voxels, (whole, core))


def test_bits_that_happen_not_to_meet_give_segments_that_do_not_overlap():
    series = ct_series(np.zeros(SHAPE))
    found = nested(series)
    apart = np.zeros(SHAPE, np.uint8)
    apart[1], apart[2] = 1, 2
    found = replace(found, segmentation=replace(found.segmentation, mask_zyx=apart), lesion_zyx=None, detections=())
    seg, voxels = drawn(encode_seg(found, series, stamp()), found)
    assert seg.SegmentsOverlap == "NO"
    np.testing.assert_array_equal(voxels, (apart == 1, apart == 2))


def test_dcmqi_puts_overlapping_segments_on_their_voxels(tmp_path):
    program = Path(sys.executable).parent / "segimage2itkimage"
    if not program.exists():
        pytest.skip("segimage2itkimage is not installed: pip install dcmqi")
    series = ct_series(np.zeros(SHAPE), affine=OBLIQUE)
    found = nested(series)
    path = tmp_path / "seg.dcm"
    path.write_bytes(encode_seg(found, series, stamp()).payload)
    subprocess.run([program, "--inputDICOM", path, "--outputDirectory", tmp_path, "-t", "nii", "-p", "out"],
                   check=True, capture_output=True, timeout=120)
    for number, mask in enumerate(MASKS, start=1):
        image = nibabel.load(tmp_path / f"out-{number}.nii.gz")
        ras = nibabel.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj)))
        index = nibabel.affines.apply_affine(np.linalg.inv(found.stack.affine_lps_mm), ras * [-1, -1, 1])
        np.testing.assert_allclose(np.array(sorted(map(tuple, np.rint(index)))), np.argwhere(mask))


def test_a_bit_without_a_label_is_refused():
    found = nested(ct_series(np.zeros(SHAPE)))
    with pytest.raises(ValueError, match=r"\[3\]"):
        replace(found.segmentation, labels=(WHOLE, CORE))
