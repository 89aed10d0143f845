"""The chest phantom: the same from the same seed, the right way round, and true to its truth."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.phantom.canvas import LABEL_LUNG, LABEL_NODULE
from dicomnode.phantom.chest import ChestPhantom, chest_ct

SMALL = {"shape_zyx": (60, 96, 96), "spacing_zyx_mm": (5.0, 3.7, 3.7)}


@pytest.fixture(scope="module")
def chest() -> ChestPhantom:
    return chest_ct(3, nodules=0, **SMALL)


def test_the_same_seed_gives_the_same_chest_voxel_for_voxel():
    first, second = chest_ct(11, **SMALL), chest_ct(11, **SMALL)
    assert np.array_equal(first.hu_zyx, second.hu_zyx)
    assert np.array_equal(first.truth_zyx, second.truth_zyx)
    assert first.nodules == second.nodules


def test_another_seed_gives_another_chest(chest: ChestPhantom):
    other = chest_ct(4, nodules=0, **SMALL)
    assert not np.array_equal(chest.truth_zyx, other.truth_zyx)


def test_arrays_have_the_asked_shape_and_the_types_of_ct(chest: ChestPhantom):
    assert chest.hu_zyx.shape == chest.truth_zyx.shape == SMALL["shape_zyx"]
    assert (chest.hu_zyx.dtype, chest.truth_zyx.dtype) == (np.int16, np.uint8)
    assert -1024 <= chest.hu_zyx.min() < -950
    assert 300 < chest.hu_zyx.max() <= 3071


def test_lungs_have_a_persons_volume_and_the_density_of_lung(chest: ChestPhantom):
    lung = chest.truth_zyx == LABEL_LUNG
    litres = np.count_nonzero(lung) * np.prod(chest.spacing_zyx_mm) / 1e6
    assert 2.0 < litres < 8.5
    assert -930 < np.median(chest.hu_zyx[lung]) < -650


@pytest.mark.parametrize("seed", range(4))
def test_x_grows_to_the_patients_left_because_the_heart_takes_room_there(seed: int):
    lung_zyx = chest_ct(seed, nodules=0, **SMALL).truth_zyx > 0
    bottom, top = _extent(lung_zyx, 0)
    front, back = _extent(lung_zyx, 1)
    right, left = _extent(lung_zyx, 2)
    height = top - bottom
    heart_level = lung_zyx[bottom + 3 * height // 10 : bottom + height // 2, front : (front + back) // 2]
    middle = (right + left) // 2
    assert np.count_nonzero(heart_level[:, :, :middle]) > np.count_nonzero(heart_level[:, :, middle + 1 :])


def test_y_grows_to_the_back_because_the_spine_lies_there(chest: ChestPhantom):
    middle = _spine_column(chest)
    density_y = chest.hu_zyx[:, :, middle - 2 : middle + 3].mean(axis=(0, 2))
    front, back = _extent(chest.truth_zyx > 0, 1)
    assert np.argmax(density_y) > (front + back) / 2


def test_z_grows_to_the_head_because_the_lungs_narrow_there(chest: ChestPhantom):
    area = np.count_nonzero(chest.truth_zyx > 0, axis=(1, 2))
    filled = np.flatnonzero(area)
    assert area[filled[-3]] < 0.5 * area.max()
    trachea = (chest.hu_zyx < -850) & (chest.truth_zyx == 0) & _central_columns(chest)
    assert trachea[filled[-1]].any(), "above the lungs the windpipe goes on"


def test_outside_air_windpipe_and_stomach_gas_are_not_lung(chest: ChestPhantom):
    lung = chest.truth_zyx > 0
    edge = np.ones_like(lung)
    edge[1:-1, 3:-3, 3:-3] = False
    assert not (lung & edge)[:, :3].any()
    air = (chest.hu_zyx < -850) & ~lung
    assert np.count_nonzero(air) > 0.2 * lung.size


@pytest.mark.parametrize("seed", range(3))
def test_each_nodule_has_the_volume_of_its_diameter(seed: int):
    phantom = chest_ct(
        seed, shape_zyx=(140, 160, 150), spacing_zyx_mm=(2.0, 2.0, 2.0), nodules=1, nodule_diameters_mm=(13.0, 15.0)
    )
    (nodule,) = phantom.nodules
    ball_mm3 = np.pi / 6.0 * nodule.diameter_mm**3
    assert np.count_nonzero(phantom.truth_zyx == LABEL_NODULE) * 8.0 == pytest.approx(ball_mm3, rel=0.2)
    centre = np.argwhere(phantom.truth_zyx == LABEL_NODULE).mean(axis=0)
    assert centre == pytest.approx(nodule.centre_index_zyx, abs=0.7)


@pytest.mark.parametrize("wanted", [0, 1, 5])
def test_as_many_nodules_are_there_as_were_asked_for(wanted: int):
    phantom = chest_ct(5, nodules=wanted, **SMALL)
    assert len(phantom.nodules) == wanted
    assert bool((phantom.truth_zyx == LABEL_NODULE).any()) == (wanted > 0)


def test_a_nodule_stands_denser_than_the_lung_around_it():
    phantom = chest_ct(9, nodules=3, nodule_diameters_mm=(12.0, 15.0), **SMALL)
    inside = phantom.hu_zyx[phantom.truth_zyx == LABEL_NODULE]
    assert np.median(inside) > np.median(phantom.hu_zyx[phantom.truth_zyx == LABEL_LUNG]) + 400


def test_the_side_of_a_nodule_is_the_side_it_lies_on():
    phantom = chest_ct(6, nodules=5, **SMALL)
    middle = _spine_column(phantom)
    for nodule in phantom.nodules:
        assert nodule.side == ("left" if nodule.centre_index_zyx[2] > middle else "right")


def test_nodules_that_find_no_room_are_refused():
    with pytest.raises(ValueError, match="no room for a nodule"):
        chest_ct(1, shape_zyx=(4, 8, 8), spacing_zyx_mm=(2.0, 2.0, 2.0), nodules=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape_zyx": (1, 64, 64)}, "shape_zyx is"),
        ({"spacing_zyx_mm": (0.0, 1.0, 1.0)}, "spacing_zyx_mm is"),
        ({"nodule_diameters_mm": (9.0, 3.0)}, "nodule_diameters_mm is"),
    ],
)
def test_impossible_arguments_are_refused_with_what_is_allowed(wrong: dict[str, tuple[float, ...]], message: str):
    with pytest.raises(ValueError, match=message):
        chest_ct(1, **wrong)


def _extent(mask_zyx: np.ndarray, axis: int) -> tuple[int, int]:
    others = tuple(other for other in range(3) if other != axis)
    filled = np.flatnonzero(mask_zyx.any(axis=others))
    return int(filled[0]), int(filled[-1])


def _spine_column(phantom: ChestPhantom) -> int:
    """The column under which most bone lies behind the lungs: the midline."""
    rows = np.nonzero((phantom.truth_zyx > 0).any(axis=(0, 2)))[0]
    behind = phantom.hu_zyx[:, int(np.median(rows)) : rows[-1] + 8] > 250
    profile = np.count_nonzero(behind, axis=(0, 1)).astype(float)
    smooth = np.convolve(profile, np.ones(7), mode="same")
    return int(np.argmax(smooth))


def _central_columns(phantom: ChestPhantom) -> np.ndarray:
    middle = _spine_column(phantom)
    columns = np.arange(phantom.hu_zyx.shape[2])
    return (np.abs(columns - middle) <= 6)[None, None, :]
