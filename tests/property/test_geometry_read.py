"""Any regular series, in any order of files, is read onto the planes it was made from."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dicomnode.domain.model import InputRole, SpacingLimits
from dicomnode.errors import MissingSlices
from dicomnode.read.series import load
from tests.builders import affine_lps, ct_series, enhanced_ct, write_series

ROLE = InputRole(role="ct", spacing_mm=SpacingLimits(tilt_deg=30))
STANDARD = (
    ((1, 0, 0), (0, 1, 0)), ((1, 0, 0), (0, 0, -1)), ((0, 1, 0), (0, 0, -1)),
    ((-1, 0, 0), (0, 1, 0)), ((1, 0, 0), (0, -1, 0)), ((0, -1, 0), (0, 0, 1)),
)
spacings = st.floats(0.3, 8.0).map(lambda mm: round(mm, 3))
angles = st.tuples(*[st.floats(-180, 180).map(lambda degree: round(degree, 2))] * 3)


@st.composite
def affines(draw):
    row, column = draw(st.sampled_from(STANDARD))
    if draw(st.booleans()):
        turn = Rotation.from_euler("zyx", draw(angles), degrees=True)
        row, column = turn.apply(row), turn.apply(column)
    return affine_lps(
        spacing_zyx_mm=(draw(spacings), draw(spacings), draw(spacings)), row=row, column=column,
        origin_mm=draw(st.tuples(*[st.floats(-900, 900).map(lambda mm: round(mm, 3))] * 3)),
        tilt_deg=draw(st.sampled_from([0, 0, 0, 11.5, -25])))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(affine=affines(), slices=st.integers(2, 7), seed=st.integers(0, 2**31), enhanced=st.booleans())
def test_every_voxel_keeps_its_value_and_its_place(affine, slices, seed, enhanced):
    chance = np.random.default_rng(seed)
    hu = chance.integers(-1024, 3000, (slices, 9, 13))
    order = chance.permutation(slices)
    with tempfile.TemporaryDirectory() as folder:
        built = [enhanced_ct(hu, affine=affine, order=list(order))] if enhanced else ct_series(hu, affine=affine)
        paths = write_series(Path(folder), built)
        loaded = load([paths[0]] if enhanced else [paths[k] for k in order], ROLE)
    stack = loaded.volume.stack
    np.testing.assert_array_equal(loaded.volume.values_zyx, hu)
    np.testing.assert_allclose(stack.affine_lps_mm, affine, atol=2e-3)
    corner = (slices - 1, 8, 12)
    np.testing.assert_allclose(stack.to_lps_mm(corner), (affine @ [*corner, 1])[:3], atol=2e-2)
    assert stack.is_regular


@settings(max_examples=40, deadline=None)
@given(affine=affines(), missing=st.integers(1, 8))
def test_a_slice_taken_out_of_the_middle_is_always_missed(affine, missing):
    with tempfile.TemporaryDirectory() as folder:
        paths = write_series(Path(folder), ct_series(np.zeros((10, 5, 4)), affine=affine))
        del paths[missing]
        with pytest.raises(MissingSlices, match=f"after slice {missing} "):
            load(paths, ROLE)
