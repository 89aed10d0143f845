"""Four sequences, each on a grid of its own as scanners give them: the brain model finds what it finds on one grid."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.config.models import model_from_text
from dicomnode.domain.dicom import MR_IMAGE_STORAGE, InstanceRef
from dicomnode.domain.volume import SlicePlane, SliceStack, Volume
from dicomnode.infer.pool import Pool
from dicomnode.phantom.brain import brain_mr
from dicomnode.run.selftest import volumes_of
from tests.live import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def series(values_zyx, like, positions, row, column, spacing):
    """A volume whose slices lie at ``positions``, in the frame of ``like``."""
    ref = InstanceRef(sop_class_uid=MR_IMAGE_STORAGE, sop_instance_uid="2.25.1")
    planes = tuple(SlicePlane(position_lps_mm=np.array(place, float), row_lps=np.array(row, float),
                              column_lps=np.array(column, float), pixel_spacing_mm=spacing, instance=ref)
                   for place in positions)
    stack = SliceStack(study_uid=like.study_uid, series_uid="2.25.9", planes=planes, rows=values_zyx.shape[1],
                       frame_of_reference_uid=like.frame_of_reference_uid, columns=values_zyx.shape[2])
    return Volume(values_zyx=np.ascontiguousarray(values_zyx, dtype=np.int16), stack=stack, modality="MR")


def thick_axial(volume, spacing):
    """The same sequence in axial slices of twice the thickness."""
    dz, dy, dx = spacing
    count = volume.values_zyx.shape[0] // 2
    mean = volume.values_zyx[:2 * count].reshape(count, 2, *volume.values_zyx.shape[1:]).mean(1)
    places = [(0, 0, (2 * number + 0.5) * dz) for number in range(count)]
    return series(mean, volume.stack, places, (1, 0, 0), (0, 1, 0), (dy, dx))


def thick_sagittal(volume, spacing):
    """The same sequence in sagittal slices of twice the thickness, from left to right."""
    dz, dy, dx = spacing
    height, depth, width = volume.values_zyx.shape
    count = width // 2
    mean = volume.values_zyx[:, :, :2 * count].reshape(height, depth, count, 2).mean(3)
    places = [((2 * number + 0.5) * dx, 0, (height - 1) * dz) for number in reversed(range(count))]
    return series(mean.transpose(2, 0, 1)[::-1, ::-1], volume.stack, places, (0, 1, 0), (0, 0, -1), (dz, dy))


def test_sequences_on_grids_of_their_own_give_nearly_what_one_grid_gives():
    text = (ROOT / "config" / "models" / "demo_brain.toml").read_text(encoding="utf-8")
    model = model_from_text(text, source="demo_brain")
    phantom = brain_mr(1234, tumour=True)
    one_grid = dict(zip((role.role for role in model.inputs), volumes_of(phantom), strict=True))
    own_grids = {**one_grid, "t2": thick_axial(one_grid["t2"], phantom.spacing_zyx_mm),
                 "flair": thick_sagittal(one_grid["flair"], phantom.spacing_zyx_mm)}
    with Pool(ROOT / "models", device="cpu", threads=1) as pool:
        first, second = (pool.run(model, volumes) for volumes in (one_grid, own_grids))
    assert first.notes == ()
    assert second.notes[:2] == ("input t2 was interpolated onto the grid of t1",
                                "input flair was interpolated onto the grid of t1")
    for label in model.labels:
        truth = phantom.truth_zyx == label.value
        dice = [2 * ((found == label.value) & truth).sum() / ((found == label.value).sum() + truth.sum())
                for found in (first.labels_zyx, second.labels_zyx)]
        assert dice[1] > dice[0] - 0.03, (label.name, dice)
