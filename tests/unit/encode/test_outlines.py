"""Outlines along pixel edges: filled by anybody's rule, they give back the mask."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path
from scipy import ndimage

from dicomnode.encode.outlines import outlines

RING = ["#####", "#...#", "#.#.#", "#...#", "#####"]
DIAGONAL = ["##..", "##..", "..##", "..##"]
HOLES_IN_A_ROW = ["#########", "#.#.#.#.#", "#########"]
HOLE_AT_A_CORNER = ["####", "#.##", "##.#", "####"]
HOLE_OPEN_AT_A_CORNER = ["####", "#..#", "#..#", "###."]


def mask(rows):
    return np.array([[sign == "#" for sign in row] for row in rows])


def area(polygon):
    """Signed: of a polygon whose holes run the other way, the marked area alone."""
    after = np.roll(polygon, -1, axis=0)
    return float((polygon[:, 1] * after[:, 0] - after[:, 1] * polygon[:, 0]).sum()) / 2


def filled(polygons, shape):
    """Matplotlib's rule for a point in a polygon, asked for each pixel centre."""
    centres = np.argwhere(np.ones(shape, bool)) + 0.5
    inside = np.zeros(len(centres), int)
    for polygon in polygons:
        inside += Path(np.vstack([polygon, polygon[:1]])).contains_points(centres)
    return inside.reshape(shape)


@pytest.mark.parametrize("rows", [RING, DIAGONAL, HOLES_IN_A_ROW, HOLE_AT_A_CORNER, HOLE_OPEN_AT_A_CORNER])
def test_a_shape_filled_again_is_the_same_shape(rows):
    np.testing.assert_array_equal(filled(outlines(mask(rows)), mask(rows).shape), mask(rows))


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_any_mask_filled_again_is_the_same_mask(drawn):
    np.testing.assert_array_equal(filled(outlines(drawn), drawn.shape), drawn)


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_each_connected_part_is_one_polygon_whose_holes_run_the_other_way(drawn):
    polygons = outlines(drawn)
    assert len(polygons) == ndimage.label(drawn)[1]
    assert sum(area(one) for one in polygons) == drawn.sum()


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_run_along_pixel_edges(drawn):
    for polygon in outlines(drawn):
        steps = np.abs(polygon - np.roll(polygon, 1, axis=0))
        assert ((steps == 0).sum(axis=1) == 1).all()


def test_a_mask_with_nothing_marked_has_no_outline():
    assert outlines(np.zeros((4, 5), bool)) == []


def test_a_rectangle_has_four_corners_at_its_outer_edges():
    drawn = np.zeros((8, 9), bool)
    drawn[2:4, 3:7] = True
    (polygon,) = outlines(drawn)
    assert sorted(map(tuple, polygon.tolist())) == [(2, 3), (2, 7), (4, 3), (4, 7)]
