"""What MONAI's own spacing does with a leaning stack, and why the node does not leave it to the bundle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from monai.transforms.spatial.dictionary import Orientationd, Spacingd

from dicomnode.infer.request import affine_ras_mm
from dicomnode.infer.standard import loaded_image
from dicomnode.infer.straight import straightened
from tests.builders import affine_lps
from tests.bundles import stack

SHAPE, HALF_MM = (24, 64, 56), np.array([24.0, 28.0, 20.0])
LEANING = affine_lps(spacing_zyx_mm=(2.5, 1.5, 1.5), tilt_deg=18.5)
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def centres_mm(affine, shape):
    index = np.indices(shape).reshape(3, -1)
    return (affine @ np.vstack([index, np.ones(index.shape[1])]))[:3].T


def ellipsoid(points_mm, middle_mm):
    return np.linalg.norm((points_mm - middle_mm) / HALF_MM, axis=1)


def test_spacing_resamples_a_sheared_affine_to_right_angles_in_the_right_place():
    points = centres_mm(LEANING, SHAPE)
    middle = points.mean(axis=0)
    image = loaded_image([ellipsoid(points, middle).reshape(SHAPE).astype(np.float32)], affine_ras_mm(LEANING))
    turned = Orientationd("image", axcodes="RAS", labels=None)({"image": image})
    found = Spacingd("image", pixdim=(2, 2, 2), mode="bilinear")(turned)["image"]
    affine = RAS @ np.asarray(found.affine)
    steps = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(steps.T @ steps, np.eye(3), atol=1e-5)
    true = ellipsoid(centres_mm(affine, found.shape[1:]), middle)
    inside = true < 1
    assert inside.sum() > 5000
    np.testing.assert_allclose(found.numpy().ravel()[inside], true[inside], atol=0.04)


def test_an_affine_says_nothing_of_uneven_slices():
    """Two stacks with the same ends and number of slices have one affine, wherever the slices between lie."""
    even = stack((5, 4, 4))
    uneven = replace(even, planes=tuple(
        replace(plane, position_lps_mm=even.planes[0].position_lps_mm + mm * even.normal_lps)
        for plane, mm in zip(even.planes, (0.0, 1.0, 2.0, 3.0, 8.0), strict=True)))
    np.testing.assert_array_equal(uneven.affine_lps_mm, even.affine_lps_mm)
    assert straightened(even) is even
    assert len(straightened(uneven).planes) == 9
