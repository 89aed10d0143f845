"""Slices are called by their place, and by what viewers show where that is another number."""

from __future__ import annotations

import pytest

from dicomnode.domain.slice_names import SliceNames, slice_names


def counted_down(count: int) -> SliceNames:
    return slice_names((1, 100 - k) for k in range(count))


def test_numbers_that_are_the_places_are_not_said_twice():
    names = slice_names((1, k + 1) for k in range(9))
    assert (names.one(3), names.after(3), names.pair(3), names.several([3, 4])) == (
        "slice 4", "after slice 4", "slices 4 and 5", "slices 4 to 5")


def test_other_numbers_are_said_beside_the_place():
    names = counted_down(9)
    assert names.one(3) == "slice 4 (Instance Number 97)"
    assert names.after(3) == "after slice 4 (between Instance Numbers 97 and 96)"
    assert names.pair(3) == "slices 4 and 5 (Instance Numbers 97 and 96)"


def test_frames_of_one_image_are_called_frames():
    names = slice_names((3 - k, 7) for k in range(3))
    assert names.several([0, 1]) == "slices 1 to 2 (frames 3 to 2)"


@pytest.mark.parametrize("shown", [[(1, 5), (1, None), (1, 6)], [(1, 5), (1, 5), (1, 6)], [(1, 2), (2, 2), (1, 3)]])
def test_numbers_that_name_no_one_slice_are_left_out(shown):
    assert slice_names(shown).one(1) == "slice 2"


def test_several_slices_are_said_in_ranges_that_may_run_down():
    names = counted_down(40)
    assert names.several([2, 6, 7, 8]) == "slices 3, 7 to 9 (Instance Numbers 98, 94 to 92)"
    assert names.several([5]) == "slice 6 (Instance Number 95)"
    assert names.several(range(0, 20, 3)) == (
        "slices 1, 4, 7, 10, 13 and 2 more places (Instance Numbers 100, 97, 94, 91, 88 and 2 more places)")
