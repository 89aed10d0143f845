"""Shapes on the canvas: signed distances, soft edges, millimetres and voxels."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.phantom.canvas import LABEL_LUNG, Canvas, capsule, ellipsoid, points_region, rod, smooth_union


@pytest.fixture
def canvas() -> Canvas:
    return Canvas((40, 50, 60), (2.0, 1.0, 1.0), centre_xyz_mm=(5.0, -3.0, 10.0), edge_mm=1.0)


def test_a_point_in_mm_and_its_voxel_index_agree(canvas: Canvas):
    region = canvas.whole
    assert canvas.index_of((5.0, -3.0, 10.0)) == (19.5, 24.5, 29.5)
    point = (float(region.x[0, 0, 7]), float(region.y[0, 11, 0]), float(region.z[13, 0, 0]))
    assert canvas.index_of(point) == pytest.approx((13.0, 11.0, 7.0))


def test_a_box_holds_exactly_the_voxels_between_its_corners(canvas: Canvas):
    region = canvas.box((0.0, -8.0, 0.0), (10.0, 2.0, 20.0))
    for axis, low, high in ((region.x, 0.0, 10.0), (region.y, -8.0, 2.0), (region.z, 0.0, 20.0)):
        assert low <= axis.min()
        assert axis.max() <= high
    assert (region.x.size, region.y.size, region.z.size) == (10, 10, 10)


def test_a_box_outside_the_field_of_view_is_empty_and_paints_nothing(canvas: Canvas):
    region = canvas.around((900.0, 0.0, 0.0), (5.0, 5.0, 5.0))
    assert region.empty
    canvas.paint(region, ellipsoid(region, (900.0, 0.0, 0.0), (5.0, 5.0, 5.0)), 100.0, label=LABEL_LUNG)
    assert np.unique(canvas.hu_zyx).tolist() == [-1000.0]
    assert not canvas.label_zyx.any()


def test_a_painted_ball_has_the_volume_of_a_ball(canvas: Canvas):
    centre, radius = (5.0, -3.0, 10.0), 9.0
    region = canvas.around(centre, (radius, radius, radius))
    canvas.paint(region, capsule(region, centre, centre, (radius, radius)), 0.0, label=LABEL_LUNG)
    expected_mm3 = 4.0 / 3.0 * np.pi * radius**3
    assert np.count_nonzero(canvas.label_zyx) * 2.0 == pytest.approx(expected_mm3, rel=0.05)
    assert (canvas.hu_zyx + 1000.0).sum() / 1000.0 * 2.0 == pytest.approx(expected_mm3, rel=0.05)


def test_a_painted_rod_lies_inside_its_own_region(canvas: Canvas):
    start, end = (-5.0, -10.0, 0.0), (12.0, 4.0, 22.0)
    whole, near = canvas.whole, rod(canvas, start, end, 3.0)
    inside = capsule(whole, start, end, (3.0, 2.0)) < 0
    assert np.count_nonzero(inside) == np.count_nonzero(inside[near.index]) > 0


def test_distance_is_negative_inside_and_zero_on_the_surface():
    points = points_region(np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 9.0]], np.float32))
    distance = ellipsoid(points, (0.0, 0.0, 0.0), (4.0, 3.0, 2.0))[:, 0, 0]
    assert distance[0] <= 0
    assert distance[1:3] == pytest.approx([0.0, 0.0], abs=1e-5)
    assert distance[3] == pytest.approx(7.0, rel=0.01)


def test_a_smooth_union_holds_both_shapes_and_never_more_than_the_blend_beyond():
    first, second = np.linspace(-5, 5, 41, dtype=np.float32), np.linspace(5, -5, 41, dtype=np.float32)
    union = smooth_union(first, second, 2.0)
    hard = np.minimum(first, second)
    assert (union <= hard + 1e-6).all()
    assert (hard - union).max() <= 0.5
