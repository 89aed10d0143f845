"""Contours of an RT Structure Set become masks on the slices that they lie on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import RTStructureSetStorage

from dicomnode.errors import UnusableAnnotation
from dicomnode.read.annotations import references
from dicomnode.read.annotations_rtstruct import filled, structures_of_rtstruct
from dicomnode.read.marks import structures_of
from tests.builders import affine_lps, ct_series, dataset, uid_of, write_file
from tests.findings import stack_of

SHAPE = (4, 20, 24)
SERIES = ct_series(np.zeros(SHAPE, np.int16))
STACK = stack_of(SERIES)


def square(k, top, left, bottom, right, stack=STACK):
    """Return the outline whose corners lie at these indices, as ContourData."""
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    return [round(float(v), 4) for y, x in corners for v in stack.to_lps_mm((k, y, x))]


def structure_set(*rois: tuple, frame=None, **changes: object):
    """Return a structure set; each ROI is a name and its contours (ContourData, or a pair of type and data)."""
    frame = frame or SERIES[0].FrameOfReferenceUID
    contours = [dataset(ReferencedROINumber=n, ROIDisplayColor=[10 * n, 200, 30], ContourSequence=[
        dataset(ContourGeometricType=kind, NumberOfContourPoints=len(data) // 3, ContourData=data)
        for kind, data in ((c if isinstance(c, tuple) else ("CLOSED_PLANAR", c)) for c in found)])
        for n, (_, found) in enumerate(rois, start=1)]
    named = [dataset(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=frame, ROIGenerationAlgorithm="MANUAL")
             for n, (name, _) in enumerate(rois, start=1)]
    series = dataset(SeriesInstanceUID=SERIES[0].SeriesInstanceUID)
    study = dataset(RTReferencedSeriesSequence=[series], ReferencedSOPInstanceUID=SERIES[0].StudyInstanceUID,
                    ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1")
    return dataset(**{
        "SOPClassUID": RTStructureSetStorage, "SOPInstanceUID": uid_of("rtstruct"), "Modality": "RTSTRUCT",
        "StudyInstanceUID": SERIES[0].StudyInstanceUID, "SeriesInstanceUID": uid_of("rt series"),
        "StructureSetLabel": "test", "StructureSetROISequence": named, "ROIContourSequence": contours,
        "ReferencedFrameOfReferenceSequence": [
            dataset(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])], **changes})


def masks(built, stack=STACK):
    return [one.mask_zyx for one in structures_of_rtstruct(built, stack)]


def test_a_square_holds_the_voxels_whose_centres_it_encloses():
    (found,) = structures_of_rtstruct(structure_set(("Liver", [square(1, 2.5, 3.5, 6.5, 9.5)])), STACK)
    expected = np.zeros(SHAPE, bool)
    expected[1, 3:7, 4:10] = True
    assert np.array_equal(found.mask_zyx, expected)
    assert (found.name, found.number, found.colour_rgb) == ("Liver", 1, (10, 200, 30))


def test_a_contour_within_a_contour_is_a_hole():
    (mask,) = masks(structure_set(("Ring", [square(0, 1.5, 1.5, 12.5, 12.5), square(0, 4.5, 4.5, 8.5, 8.5)])))
    assert mask.sum() == 11 * 11 - 4 * 4
    assert not mask[0, 6, 6]


def test_a_keyhole_is_a_hole():
    outer = [(1.5, 1.5), (1.5, 12.5), (12.5, 12.5), (12.5, 1.5)]
    inner = [(4.5, 4.5), (8.5, 4.5), (8.5, 8.5), (4.5, 8.5)]
    path = [*outer, outer[0], inner[0], *inner[1:], inner[0], outer[0]]
    data = [float(v) for y, x in path for v in STACK.to_lps_mm((2, y, x))]
    (mask,) = masks(structure_set(("Keyhole", [data])))
    assert mask.sum() == 11 * 11 - 4 * 4


def test_contours_that_share_an_edge_neither_overlap_nor_leave_a_gap():
    left, right = square(0, 2, 2, 10, 6), square(0, 2, 6, 10, 11)
    one, other = masks(structure_set(("A", [left]), ("B", [right])))
    assert not (one & other).any()
    assert (one | other).sum() == 8 * 9


def test_points_and_open_lines_mark_nothing():
    assert masks(structure_set(("Mark", [("POINT", square(0, 1, 1, 2, 2)[:3]),
                                         ("OPEN_PLANAR", square(0, 1, 1, 5, 5))]))) == []


def test_slices_left_out_between_contours_are_said():
    (found,) = structures_of_rtstruct(
        structure_set(("Gap", [square(0, 2, 2, 8, 8), square(3, 2, 2, 8, 8)])), STACK)
    assert found.notes == ("2 slices between its contours have none: they stay empty",)


def test_contours_beyond_the_images_are_said():
    (found,) = structures_of_rtstruct(
        structure_set(("Long", [square(3, 2, 2, 8, 8), square(5, 2, 2, 8, 8)])), STACK)
    assert found.mask_zyx.sum() == 36
    assert found.notes == ("1 contours lie above or below the images",)


def test_a_contour_between_slices_is_refused():
    with pytest.raises(UnusableAnnotation, match=r"ROI 'Liver' lies 0\.80 mm beside the nearest slice"):
        masks(structure_set(("Liver", [square(1.4, 2, 2, 8, 8)])))


def test_coordinates_of_another_frame_of_reference_are_refused():
    with pytest.raises(UnusableAnnotation, match="Frame of Reference"):
        masks(structure_set(("Liver", [square(1, 2, 2, 8, 8)]), frame=uid_of("elsewhere")))


def test_an_oblique_stack_is_filled_in_its_own_planes():
    series = ct_series(np.zeros(SHAPE, np.int16), affine=affine_lps(row=(0.8, 0.6, 0), column=(0, 0, -1)))
    stack = stack_of(series)
    (mask,) = masks(structure_set(("Liver", [square(2, 2.5, 3.5, 6.5, 9.5, stack)])), stack)
    assert np.argwhere(mask).min(axis=0).tolist() == [2, 3, 4]
    assert mask.sum() == 4 * 6


def test_a_structure_set_names_its_series(tmp_path):
    path = write_file(tmp_path / "rt.dcm", structure_set(("Liver", [square(1, 2, 2, 8, 8)])))
    found = references(path)
    assert (found.kind, found.series_uids) == ("RTSTRUCT", {SERIES[0].SeriesInstanceUID})
    assert [one.name for one in structures_of(path, found.kind, STACK)] == ["Liver"]


def test_damaged_contours_are_refused_with_a_reason(tmp_path):
    built = structure_set(("Liver", [square(1, 2, 2, 8, 8)]))
    del built.ROIContourSequence[0].ContourSequence[0].ContourData
    path = write_file(tmp_path / "rt.dcm", built)
    with pytest.raises(UnusableAnnotation, match="damaged or incomplete"):
        list(structures_of(path, "RTSTRUCT", STACK))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 14), st.floats(-3, 16)), min_size=3, max_size=9))
def test_a_polygon_is_filled_as_the_ray_from_each_centre_says(corners):
    points = np.array(corners)
    edges = np.stack([points, np.roll(points, -1, axis=0)], axis=1)
    found = filled(edges, (12, 13))
    for y in range(12):
        for x in range(13):
            crossed = 0
            for (y0, x0), (y1, x1) in edges:
                if (y0 <= y < y1) or (y1 <= y < y0):
                    crossed += x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x
            assert found[y, x] == bool(crossed % 2)
