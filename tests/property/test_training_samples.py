"""Truth lands where it is on any grid, and patches never leave their case."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dicomnode.train.dataset.reader import Case
from dicomnode.train.fit.crops import choose_start, cut_patch
from dicomnode.train.fit.prepare import boxes_on_grid
from dicomnode.train.fit.rates import share_of_peak
from dicomnode.train.fit.settings import Schedule
from dicomnode.train.fit.tasks import PackedImage, Prepared

lengths = st.floats(0.3, 6.0)
places = st.floats(-200.0, 200.0)


@st.composite
def upright_affines(draw: st.DrawFn) -> NDArray[np.float64]:
    """Voxel → RAS mm of a grid whose axes are patient axes, in any order and direction."""
    order = draw(st.sampled_from(list(permutations(range(3)))))
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[list(order)] * [draw(lengths) * draw(st.sampled_from((-1, 1))) for _ in range(3)]
    affine[:3, 3] = [draw(places) for _ in range(3)]
    return affine


@given(upright_affines(), st.tuples(*[st.integers(0, 40)] * 3), st.tuples(*[st.integers(1, 20)] * 3))
def test_a_box_around_voxels_comes_back_as_those_voxels(affine: NDArray[np.float64], first: tuple[int, ...],
                                                        size: tuple[int, ...]):
    low, high = np.array(first) - 0.5, np.array(first) + np.array(size) - 0.5
    corners_lps = (np.stack([low, high]) @ affine[:3, :3].T + affine[:3, 3]) * [-1, -1, 1]
    box = np.concatenate([corners_lps.mean(axis=0), np.abs(corners_lps[1] - corners_lps[0])])
    found = boxes_on_grid(box[None], affine)[0]
    assert np.allclose(found, [*first, *(np.array(first) + np.array(size))], atol=2e-3)


@given(st.tuples(*[st.integers(2, 12)] * 3), st.tuples(*[st.integers(1, 16)] * 3), st.integers(0, 2**31),
       st.floats(0, 0.5))
def test_a_patch_has_its_size_and_shows_the_image_where_it_lies(shape: tuple[int, int, int], size: tuple[int, int, int],
                                                                seed: int, shift: float):
    image = np.random.default_rng(seed).random((2, *shape)).astype(np.float32)
    label = (image[0] > 0.5).astype(np.uint8)
    bright = np.argwhere(label).astype(np.int32)
    prepared = Prepared(case=Case(id="case", patient="patient", images=()), image=PackedImage.of(image),
                        affine_ras_mm=np.eye(4), label_xyz=label, places={"bright": bright})
    start = choose_start(prepared, size, {"bright": 0.5, "anywhere": 0.5}, shift, np.random.default_rng(seed))
    assert all(0 <= at <= max(0, whole - wanted) for at, whole, wanted in zip(start, shape, size, strict=True))
    patch, mask = cut_patch(prepared, start, size)
    assert patch.shape == (2, *size)
    assert mask is not None
    inside = tuple(slice(0, min(wanted, whole - at)) for at, whole, wanted in zip(start, shape, size, strict=True))
    there = tuple(slice(at, at + cut.stop) for at, cut in zip(start, inside, strict=True))
    assert np.allclose(patch[(slice(None), *inside)], image[(slice(None), *there)], atol=1e-4)
    assert np.array_equal(mask[inside], label[there])


@given(st.floats(0, 1), st.sampled_from(["one_cycle", "cosine", "constant"]), st.floats(0, 0.9))
def test_no_rate_is_above_its_peak_or_below_nothing(progress: float, shape: str, warm_up: float):
    assert 0 <= share_of_peak(progress, Schedule.model_validate({"shape": shape, "warm_up": warm_up})) <= 1 + 1e-12
