"""Many structures: one label map for those who take it, several objects by group for the others."""

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from pydicom.uid import RLELossless

from dicomnode.domain.dicom import LABEL_MAP_SEGMENTATION_STORAGE
from dicomnode.domain.findings import Segmentation
from dicomnode.encode.parts import parts_of
from dicomnode.encode.seg import encode_segs
from dicomnode.encode.segments import Segment, segments_of
from dicomnode.encode.sr import encode_reports
from tests.builders import ct_series, enhanced_ct
from tests.findings import (
    HEART,
    LUNG,
    NODULE,
    block,
    findings,
    lesion,
    many_structures,
    parsed,
    sct,
    stack_of,
    stamp,
    structure,
    voxels_of,
)

SHAPE = (5, 24, 30)
BOTH = frozenset({"SEG", "LABELMAP"})
SERIES = ct_series(np.zeros(SHAPE))


def many(count, series=SERIES):
    found = many_structures(count, series, SHAPE)
    return found, found.segmentation.mask_zyx


def made(found, series=SERIES, wanted=BOTH):
    return encode_segs([found], {found.stack.series_uid: series}, stamp(), wanted)


@pytest.mark.parametrize("count", [1, 5, 104, 300])
def test_a_label_map_holds_every_voxel_in_run_lengths(count):
    found, mask = many(count)
    (one,) = made(found, wanted=frozenset({"LABELMAP"}))
    assert (one.kind, one.sop_class_uid) == ("LABELMAP", LABEL_MAP_SEGMENTATION_STORAGE)
    assert one.transfer_syntax_uid == RLELossless
    result = parsed(one)
    assert result.file_meta.TransferSyntaxUID == RLELossless
    assert result.BitsAllocated == (8 if count < 256 else 16)
    assert result.NumberOfFrames == 4, "the empty slice has no frame"
    np.testing.assert_array_equal(voxels_of(one, found.stack), mask)


def test_the_frames_of_an_enhanced_image_are_met_in_their_own_order():
    series = [enhanced_ct(np.zeros(SHAPE), order=[3, 1, 0, 2, 4])]
    found, mask = many(30, series)
    for one in made(found, series, frozenset({"LABELMAP"})):
        np.testing.assert_array_equal(voxels_of(one, found.stack), mask)


def test_every_value_has_its_segment_and_its_colour_the_background_too_which_stands_last():
    found, _ = many(4)
    result = parsed(made(found, wanted=frozenset({"LABELMAP"}))[0])
    assert [item.SegmentNumber for item in result.SegmentSequence] == [1, 2, 3, 4, 0]
    background = result.SegmentSequence[-1]
    assert background.SegmentedPropertyTypeCodeSequence[0].CodeValue == "125040"
    assert background.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "309825002", "of CID 7150"
    assert result.PixelPaddingValue == 0
    assert result.PhotometricInterpretation == "MONOCHROME2"
    colours = [hd.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue)
               for item in result.SegmentSequence]
    for colour, wanted in zip(colours, [*(one.colour_rgb for one in found.segmentation.labels), (0, 0, 0)],
                              strict=True):
        np.testing.assert_allclose(colour.to_rgb(), wanted, atol=1)


def test_labels_that_share_voxels_make_no_label_map():
    stack = stack_of(SERIES)
    bits = (block(SHAPE, slice(1, 3)) * 1 + block(SHAPE, slice(2, 4)) * 2).astype(np.uint8)
    found = replace(findings(stack, np.zeros(SHAPE, np.uint8)), segmentation=Segmentation(
        mask_zyx=bits, stack=stack, labels=(LUNG, replace(HEART, value=2)), overlapping=True))
    assert [one.kind for one in made(found)] == ["SEG"]


def test_up_to_twenty_segments_share_one_object_and_more_are_cut_by_group():
    assert [one.group for one in made(many(20)[0])] == ["seg:demo_chest", "seg:demo_chest"]
    found, mask = many(104)
    *parts, whole = made(found)
    assert [one.kind for one in parts] == ["SEG"] * len(parts)
    assert [one.group for one in parts] == [f"seg:demo_chest/{n}" for n in range(1, len(parts) + 1)]
    assert (whole.kind, whole.group) == ("LABELMAP", "seg:demo_chest")
    texts = [parsed(one).SeriesDescription for one in parts]
    assert texts[0] == "AI segmentation ribs 1 of 3 demo_chest - NOT VERIFIED"
    assert any("muscles" in text for text in texts)
    together = np.zeros(SHAPE, np.uint16)
    for one in parts:
        numbers = {number: value for (_, value), number in one.segments.items()}
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        assert len(numbers) <= 20
        lookup = np.array([0, *(numbers[n] for n in sorted(numbers))])
        together += lookup[voxels_of(one, found.stack)].astype(np.uint16)
    np.testing.assert_array_equal(together, mask)


def test_the_group_of_the_model_file_counts_before_what_names_say():
    labels = [structure(value, "muscle", group="left" if value % 2 else "") for value in range(1, 31)]
    parts = parts_of([Segment(number=n, label=one) for n, one in enumerate(labels, start=1)])
    assert {part.name: len(part.segments) for part in parts} == {"left": 15, "muscles": 15}


def test_lesions_are_a_group_and_names_without_a_word_that_is_known_another():
    spots = [Segment(number=n, label=NODULE, lesion=lesion(block(SHAPE, slice(1, 2)), n)) for n in range(1, 5)]
    others = [Segment(number=n, label=replace(structure(n, "x"), type=sct("1", "thing"))) for n in range(5, 27)]
    assert [(part.name, len(part.segments)) for part in parts_of([*spots, *others])] == [
        ("lesions", 4), ("others 1 of 2", 11), ("others 2 of 2", 11)]


def test_each_form_has_its_volumes_report_which_refers_to_it_and_to_nothing_else():
    found, _ = many(30)
    segs = made(found)
    reports = encode_reports([found], {found.stack.series_uid: SERIES}, stamp(), segs)
    by_form = {kind: {one.sop_instance_uid for one in segs if one.kind == kind} for kind in BOTH}
    volumes = [one for one in reports if one.group == "volumes"]
    assert sorted((one.kind, sorted(one.refers_to)) for one in volumes) == sorted(
        (kind, sorted(by_form[form])) for kind in ("SR", "SR3D") for form in by_form)
    assert len({one.sop_instance_uid for one in volumes}) == 4
    for one in volumes:
        form = "LABELMAP" if set(one.refers_to) == by_form["LABELMAP"] else "SEG"
        named = {ref.ReferencedSOPInstanceUID: ref.ReferencedSOPClassUID for study in
                 parsed(one).CurrentRequestedProcedureEvidenceSequence for series in study.ReferencedSeriesSequence
                 for ref in series.ReferencedSOPSequence}
        assert {seg.sop_instance_uid: seg.sop_class_uid for seg in segs if seg.kind == form}.items() <= named.items()


def test_the_same_findings_give_the_same_bytes():
    found, _ = many(30)
    assert [one.payload for one in made(found)] == [one.payload for one in made(found)]
    assert len(segments_of(found)) == 30
