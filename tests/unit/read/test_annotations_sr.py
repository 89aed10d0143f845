"""Findings of measurement reports become boxes in patient millimetres."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset

from dicomnode.domain.model import InputRole
from dicomnode.encode.sr import encode_reports
from dicomnode.errors import UnusableAnnotation
from dicomnode.read.annotations_sr import boxes_of_sr
from dicomnode.read.marks import boxes_of
from dicomnode.read.series import load
from tests.builders import ct_series, dataset, uid_of
from tests.findings import block, findings, parsed, stack_of, stamp
from tests.shared import shared_data

SHAPE = (6, 34, 37)
SERIES = ct_series(np.zeros(SHAPE, np.int16))
STACK = stack_of(SERIES)
LESION = block(SHAPE, slice(1, 4), slice(10, 15), slice(20, 26))


def code(value, scheme, meaning):
    return dataset(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def item(kind, concept, **more: object):
    return dataset(ValueType=kind, ConceptNameCodeSequence=[code(concept, "DCM", "x")], **more)


def report(*items: Dataset):
    group = item("CONTAINER", "125007", ContentSequence=list(items))
    return dataset(ContentSequence=[item("CONTAINER", "126010", ContentSequence=[group])])


def on_slice(k, kind, *column_row: float):
    """Return a SCOORD on slice k; numbers as in the file: column, row, the first pixel's centre at 0.5."""
    image = item("IMAGE", "121112", ReferencedSOPSequence=[dataset(
        ReferencedSOPClassUID=SERIES[k].SOPClassUID, ReferencedSOPInstanceUID=SERIES[k].SOPInstanceUID)])
    return item("SCOORD", "111030", GraphicType=kind, GraphicData=list(column_row), ContentSequence=[image])


def in_space(kind, *points: object, frame=None):
    return item("SCOORD3D", "111030", GraphicType=kind, GraphicData=[float(v) for point in points for v in point],
                ReferencedFrameOfReferenceUID=frame or SERIES[0].FrameOfReferenceUID)


def measured(value, unit="mm"):
    return dataset(ValueType="NUM", ConceptNameCodeSequence=[code("81827009", "SCT", "Diameter")],
                   MeasuredValueSequence=[dataset(NumericValue=str(value), MeasurementUnitsCodeSequence=[
                       code(unit, "UCUM", unit)])])


def the_box(*items: Dataset):
    (box,) = boxes_of_sr(report(*items), STACK)
    return np.concatenate([box.centre_lps_mm, box.size_lps_mm])


def test_both_forms_of_the_nodes_own_report_give_the_outline_of_each_finding():
    made = findings(STACK, np.zeros(SHAPE, np.uint8), lesions=[LESION])
    objects = encode_reports([made], {STACK.series_uid: SERIES}, stamp(), [])
    forms = [one for one in objects if one.group == "findings"]
    assert len(forms) == 2
    for form in forms:
        (box,) = boxes_of_sr(parsed(form), STACK)
        assert np.allclose(box.size_lps_mm, (6, 5, 6.5))  # columns, rows, and the stated diameter along the head
        assert np.allclose(box.centre_lps_mm[:2], STACK.to_lps_mm((1, 12, 22.5))[:2])
        assert (box.type.meaning, box.name) == ("Nodule", "Nodule")
        assert (box.tracking_uid, box.diameter_mm) == ("2.25.1001", 6.5)


def test_a_circle_on_a_slice_is_as_wide_as_it_is_high():
    centre = STACK.to_lps_mm((2, 10, 20))
    found = the_box(on_slice(2, "CIRCLE", 20.5, 10.5, 24.5, 10.5), measured(8))
    assert np.allclose(found, [*centre, 8, 8, 8], atol=1e-3)


def test_a_diameter_in_centimetres_counts_tenfold():
    assert np.allclose(the_box(on_slice(2, "POINT", 20.5, 10.5), measured(1.2, "cm")), [
        *STACK.to_lps_mm((2, 10, 20)), 12, 12, 12])


@pytest.mark.parametrize(("more", "size"), [((), 10.0), ((measured(12),), 12.0)])
def test_a_line_is_the_axis_of_a_ball_and_no_box_without_width(more, size):
    found = the_box(on_slice(2, "POLYLINE", 12.5, 10.5, 22.5, 10.5), *more)
    assert np.allclose(found, [*STACK.to_lps_mm((2, 10, 17)), size, size, size], atol=1e-3)


def test_a_long_and_a_short_axis_bound_the_finding():
    found = the_box(on_slice(2, "POLYLINE", 12.5, 10.5, 22.5, 10.5), on_slice(2, "POLYLINE", 17.5, 8.5, 17.5, 12.5))
    assert np.allclose(found, [*STACK.to_lps_mm((2, 10, 17)), 10, 4, 2], atol=1e-3)


def test_outlines_on_several_slices_reach_from_the_first_to_the_last():
    found = the_box(*(on_slice(k, "POLYLINE", 3, 4, 9, 4, 9, 8, 3, 8, 3, 4) for k in (1, 3)))
    assert np.allclose(found[3:], (6, 4, 4))
    assert np.allclose(found[:3], STACK.to_lps_mm((2, 5.5, 5.5)))


def test_what_is_drawn_on_one_slice_without_a_diameter_is_a_slice_high():
    assert the_box(on_slice(1, "POLYLINE", 3, 4, 9, 4, 9, 8, 3, 8, 3, 4))[5] == pytest.approx(2.0)


def test_an_ellipse_is_bounded_whichever_way_it_lies():
    major, minor = np.array([3.0, 4.0]), np.array([-2.0, 1.5])
    ends = [np.array([15.0, 15.0]) + offset for offset in (major, -major, minor, -minor)]
    found = the_box(on_slice(2, "ELLIPSE", *np.concatenate(ends)), measured(5))
    assert np.allclose(found[3:5], 2 * np.sqrt(major**2 + minor**2), atol=1e-2)


def test_an_ellipsoid_in_space_is_bounded():
    centre = np.array([1.0, 2.0, 104.0])
    axes = np.array([[3, 0, 0], [0, 4, 3], [0, -1.5, 2]])
    ends = [centre + sign * axis for axis in axes for sign in (-1, 1)]
    expected = [*centre, *(2 * np.sqrt((axes**2).sum(axis=0)))]
    assert np.allclose(the_box(in_space("ELLIPSOID", *ends)), expected, atol=1e-3)


def test_two_opposite_corners_in_space_are_a_box():
    assert np.allclose(the_box(in_space("MULTIPOINT", (0, 0, 100), (4, 6, 108))), [2, 3, 104, 4, 6, 8])


def test_a_point_without_a_diameter_is_refused():
    with pytest.raises(UnusableAnnotation, match="how large"):
        the_box(in_space("POINT", (0, 0, 100)))


def test_coordinates_of_another_frame_of_reference_are_refused():
    with pytest.raises(UnusableAnnotation, match="Frame of Reference"):
        the_box(in_space("MULTIPOINT", (0, 0, 100), (4, 6, 108), frame=uid_of("elsewhere")))


def test_a_finding_on_another_series_is_not_this_ones():
    other = on_slice(2, "POINT", 20.5, 10.5)
    other.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = uid_of("another image")
    assert list(boxes_of_sr(report(other, measured(5)), STACK)) == []


def test_a_group_without_coordinates_is_no_finding():
    assert list(boxes_of_sr(report(measured(5)), STACK)) == []


def test_reports_of_highdicom_are_read():
    folder = shared_data("dicom_seg_sr_by_others") / "highdicom" / "data" / "test_files"
    stack = load([folder / "ct_image.dcm"], InputRole(role="ct", modality="")).volume.stack
    (box,) = boxes_of(folder / "sr_document.dcm", "SR", stack)
    assert box.type.meaning == "Spinal cord"
    assert np.allclose(box.size_lps_mm, (14.552296, 14.552296, 5.0))
    with pytest.raises(UnusableAnnotation, match="how large"):
        boxes_of(folder / "sr_document_with_multiple_groups.dcm", "SR", stack)
