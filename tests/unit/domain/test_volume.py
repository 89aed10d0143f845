"""Planes that cannot be, are not."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest

from dicomnode.domain.dicom import CT_IMAGE_STORAGE, InstanceRef
from dicomnode.domain.volume import SlicePlane
from tests.builders import uid_of


def plane(**values: object) -> SlicePlane:
    usual = {"position_lps_mm": np.zeros(3), "row_lps": np.array([1.0, 0, 0]), "column_lps": np.array([0, 1.0, 0]),
             "pixel_spacing_mm": (1.0, 1.0)}
    reference = InstanceRef(sop_class_uid=CT_IMAGE_STORAGE, sop_instance_uid=uid_of("plane"))
    return SlicePlane(instance=reference, **{**usual, **values})


@pytest.mark.parametrize(("name", "value"), [
    ("pixel_spacing_mm", (1.0, nan)), ("pixel_spacing_mm", (nan, 1.0)), ("pixel_spacing_mm", (1.0, inf)),
    ("pixel_spacing_mm", (0.0, 1.0)), ("thickness_mm", nan), ("thickness_mm", inf), ("thickness_mm", -1.0),
    ("position_lps_mm", np.array([0, nan, 0])),
])
def test_a_number_that_is_no_length_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        plane(**{name: value})


@pytest.mark.parametrize("row", [np.array([nan, 0, 0]), np.array([1.0, nan, 0]), np.array([2.0, 0, 0])])
def test_a_direction_that_is_no_unit_vector_is_refused(row):
    with pytest.raises(ValueError, match="not orthonormal"):
        plane(row_lps=row)
