"""Drawn patients for a real viewer: a chest in CT, a brain in MR, and what is in them; coarse, to be quick."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from scipy import ndimage

from dicomnode.domain.model import Label
from dicomnode.phantom.brain import brain_mr
from dicomnode.phantom.chest import chest_ct
from tests.builders import affine_lps, ct_series
from tests.findings import NODULE, STRUCTURE, sct

SHAPE, SPACING_MM = (12, 84, 100), (12.0, 4.0, 4.0)
AXIAL = affine_lps(spacing_zyx_mm=SPACING_MM, origin_mm=(-202, -170, -70))
TILTED = affine_lps(spacing_zyx_mm=SPACING_MM, origin_mm=(-202, -170, -70), tilt_deg=18.5)
LUNGS = tuple(
    Label(value=value, name=f"{side} lung", category=STRUCTURE, type=sct("39607008", "Lung"), colour_rgb=colour,
          modifier=sct(code, side))
    for value, side, code, colour in ((1, "Right", "24028007", (126, 200, 227)), (3, "Left", "7771000", (94, 183, 94))))
BRAIN = (
    Label(value=1, name="Brain", category=STRUCTURE, type=sct("12738006", "Brain"), colour_rgb=(230, 150, 120)),
    Label(value=3, name="Ventricles", category=STRUCTURE, type=sct("35764002", "Brain ventricle"),
          colour_rgb=(80, 140, 250)))
TUMOUR = replace(NODULE, name="Tumour", region=sct("12738006", "Brain"))


@cache
def chest() -> tuple[NDArray[np.int16], NDArray[np.uint8], tuple[NDArray[np.bool_], ...]]:
    """Return a drawn chest, axial from the feet: HU, both lungs by their labels, and each nodule's voxels."""
    drawn = chest_ct(7, shape_zyx=SHAPE, spacing_zyx_mm=SPACING_MM, nodules=2, nodule_diameters_mm=(22.0, 34.0))
    left = np.arange(SHAPE[2]) >= SHAPE[2] // 2
    lungs = np.where(drawn.truth_zyx == 1, np.where(left, 3, 1), 0).astype(np.uint8)
    return drawn.hu_zyx, lungs, _lumps(drawn.truth_zyx == 2)


@cache
def brain() -> tuple[NDArray[np.int16], NDArray[np.uint8], tuple[NDArray[np.bool_], ...]]:
    """Return a drawn brain with a tumour, sagittal from the right; rows run down, columns to the back."""
    drawn = brain_mr(4, shape_zyx=(60, 72, 14), spacing_zyx_mm=(3.0, 3.0, 12.0), tumour=True)
    signal, truth = (one[::-1].transpose(2, 0, 1) for one in (drawn.mr_zyx["flair"], drawn.truth_zyx))
    return np.clip(signal, 0, 4095), np.select([truth == 1, truth == 2], [1, 3]).astype(np.uint8), _lumps(truth >= 3)


def _lumps(inside: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
    numbered, count = ndimage.label(inside)
    return tuple(numbered == number for number in range(1, count + 1))


def ct(seed: str, affine: NDArray[np.float64] = AXIAL, **attributes: object) -> list[Dataset]:
    """Return the drawn chest as a CT series of a patient of its own: a viewer lists what else a patient has."""
    return ct_series(chest()[0], affine=affine, seed=seed, PatientID=f"VIEWER-{seed}", **attributes)
