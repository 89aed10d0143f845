"""The box around the body, and the part of the source that it covers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dicomnode.infer.body import body_box
from dicomnode.infer.grid import TargetGrid


def air(shape=(60, 60, 60)) -> torch.Tensor:
    return torch.full(shape, -1000.0)


def test_the_box_holds_everything_dense_and_a_margin():
    image = air()
    image[20:30, 25:45, 10:50] = 40.0
    assert body_box(image, (5.0, 5.0, 5.0), (1, 1, 1)) == (slice(17, 33), slice(22, 48), slice(7, 53))


def test_the_box_is_no_smaller_than_a_window_and_stays_in_the_image():
    image = air()
    image[50:58, 25:45, 10:50] = 40.0
    box = body_box(image, (5.0, 5.0, 5.0), (32, 32, 200))
    assert [one.stop - one.start for one in box] == [32, 32, 60]
    assert box[0].start <= 50
    assert box[0].stop == 60


def test_a_few_dense_voxels_are_no_body():
    image = air()
    image[20:30, 25:45, 10:50] = 40.0
    image[2, 2, 2] = 3000.0
    assert body_box(image, (5.0, 5.0, 5.0), (1, 1, 1))[0] == slice(17, 33)


def test_where_nothing_is_dense_the_whole_image_is_kept():
    assert body_box(air(), (2.0, 2.0, 2.0), (8, 8, 8)) == (slice(0, 60),) * 3


@pytest.mark.parametrize("steps", [(2.0, 1.5, 0.7), (-2.0, 1.5, -0.7)])
def test_a_cropped_grid_keeps_every_sample_where_it_was(steps):
    shape = (40, 30, 21)
    count = tuple(int(n / abs(step)) for n, step in zip(shape, steps, strict=True))
    first = tuple(0.3 if step > 0 else n - 1.3 for n, step in zip(shape, steps, strict=True))
    grid = TargetGrid(affine_ras_mm=np.eye(4), first_zyx=first, step_zyx=steps, count_zyx=count, axes=(2, 1, 0))
    box_zyx = tuple(slice(3, n - 4) for n in count)
    inner, region = grid.cropped(tuple(box_zyx[axis] for axis in grid.axes), shape)
    for axis in range(3):
        whole = grid.first_zyx[axis] + grid.step_zyx[axis] * np.arange(count[axis])
        part = inner.first_zyx[axis] + inner.step_zyx[axis] * np.arange(inner.count_zyx[axis]) + region[axis].start
        np.testing.assert_allclose(part, whole[box_zyx[axis]])
        covered = (np.arange(shape[axis]) - grid.first_zyx[axis]) / grid.step_zyx[axis]
        inside = (covered >= 3 - 0.5) & (covered < count[axis] - 4 - 0.5)
        assert np.flatnonzero(inside).tolist() == list(range(shape[axis]))[region[axis]]


def test_the_whole_grid_covers_the_whole_source():
    grid = TargetGrid(affine_ras_mm=np.eye(4), first_zyx=(0.0, 29.0, 3.0), step_zyx=(2.0, -2.0, 1.0),
                      count_zyx=(20, 15, 10), axes=(0, 1, 2))
    inner, region = grid.cropped((slice(0, 20), slice(0, 15), slice(0, 10)), (40, 30, 16))
    assert region == (slice(0, 40), slice(0, 30), slice(0, 16))
    assert inner.first_zyx == grid.first_zyx
