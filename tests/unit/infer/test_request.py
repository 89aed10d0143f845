"""What a child is told: geometry as NIfTI has it, and no patient data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dicomnode.domain.model import InputRole, Label, ModelFile
from dicomnode.errors import MixedFrameOfReference, ModelFailed, UnalignedInputs
from dicomnode.infer import wire
from dicomnode.infer.request import Request, affine_ras_mm
from tests.builders import affine_lps
from tests.bundles import blobs, model_file, volume

OBLIQUE = affine_lps(spacing_zyx_mm=(3.0, 1.1, 1.3), row=(0.9961946980917455, 0, -0.08715574274765817),
                     column=(0.007596123493895969, 0.9961946980917455, 0.08682408883346517))


@pytest.fixture
def a_model(tmp_path: Path) -> ModelFile:
    (tmp_path / "bundle").mkdir()
    return model_file(tmp_path / "bundle")


def test_the_affine_maps_column_row_slice_to_ras_in_float32():
    affine = affine_ras_mm(OBLIQUE)
    slice_row_column = np.array([4, 7, 9, 1.0])
    lps = OBLIQUE @ slice_row_column
    ras = affine @ [9, 7, 4, 1]
    assert ras[:3] == pytest.approx([-lps[0], -lps[1], lps[2]], abs=1e-4)
    assert np.array_equal(affine, affine.astype(np.float32).astype(np.float64))


def test_a_request_holds_geometry_and_settings_and_no_identity(a_model):
    image = volume(blobs((4, 5, 6)), OBLIQUE)
    request = Request(a_model, {"image": image})
    try:
        text = json.dumps(request.message())
        assert image.stack.study_uid not in text
        assert json.loads(text)["shape"] == [4, 5, 6]
        assert json.loads(text)["out_dtype"] == "uint8"
        assert len(request.fds) == 2
    finally:
        request.close()


def test_many_labels_need_wider_values(a_model):
    label: Label = replace(a_model.labels[0], value=300)
    request = Request(replace(a_model, labels=(label,)), {"image": volume(blobs((4, 5, 6)))})
    assert request.message()["out_dtype"] == "uint16"
    assert request.labels().dtype == np.uint16
    request.close()


def test_a_missing_input_is_named(a_model):
    with pytest.raises(ModelFailed, match="no volume for the input image"):
        Request(a_model, {"other": volume(blobs((4, 5, 6)))})


def test_inputs_on_different_grids_are_refused_not_guessed(a_model):
    model = replace(a_model, inputs=(InputRole(role="t1"), InputRole(role="t2")))
    with pytest.raises(UnalignedInputs, match=r"t2 lies on another grid than t1"):
        Request(model, {"t1": volume(blobs((4, 5, 6))), "t2": volume(blobs((4, 5, 7)))})


def field_mm(shape, affine):
    """A linear field of the patient: its value anywhere is known."""
    index = np.indices(shape).reshape(3, -1)
    x, y, z = (affine @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    return (2 * x - 3 * y + z).reshape(shape).astype(np.float32)


COARSE = affine_lps(spacing_zyx_mm=(5.0, 2.0, 2.0), origin_mm=(-20, -22, -8))
FINE_OBLIQUE = OBLIQUE.copy()
FINE_OBLIQUE[:3, 3] = (-8.0, -9.0, -4.0)


def resampled(a_model, first, second):
    model = replace(a_model, inputs=(InputRole(role="t1"), InputRole(role="t2", resample=True)))
    request = Request(model, {"t1": first, "t2": second})
    try:
        channel = np.array(wire.view(request.fds[1], request.message()["inputs"][1]["dtype"],
                                     request.message()["shape"]))
        return channel, request.notes()
    finally:
        request.close()


def test_an_input_on_another_grid_is_interpolated_where_the_model_file_says_so(a_model):
    first = volume(np.zeros((6, 8, 9), np.int16), FINE_OBLIQUE)
    second = volume(field_mm((12, 24, 24), COARSE), COARSE)
    channel, notes = resampled(a_model, first, second)
    np.testing.assert_allclose(channel, field_mm((6, 8, 9), FINE_OBLIQUE), atol=2e-3)
    assert notes == ("input t2 was interpolated onto the grid of t1",)


def test_an_interpolated_input_is_what_monai_gives(a_model):
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.spatial.array import ResampleToMatch

    first, second = volume(np.zeros((6, 8, 9), np.int16), FINE_OBLIQUE), volume(blobs((12, 24, 24), seed=2), COARSE)
    channel, _notes = resampled(a_model, first, second)
    source, target = (MetaTensor(torch.from_numpy(one.values_zyx.transpose(2, 1, 0).copy()).float()[None],
                                 affine=torch.from_numpy(affine_ras_mm(one.stack.affine_lps_mm)))
                      for one in (second, first))
    expected = ResampleToMatch(mode="bilinear", padding_mode="border")(source, img_dst=target)
    np.testing.assert_allclose(channel, np.asarray(expected[0]).transpose(2, 1, 0), atol=0.1)


def test_where_the_other_input_does_not_reach_its_smallest_value_stands(a_model):
    affine = affine_lps(spacing_zyx_mm=(1, 1, 1), origin_mm=(0, 0, 0))
    shifted = affine.copy()
    shifted[:3, 3] = (0.0, 0.0, 2.0)
    first = volume(np.zeros((6, 4, 4), np.int16), affine)
    second = volume(np.full((6, 4, 4), 7, np.int16) - np.eye(4, dtype=np.int16), shifted)
    channel, _notes = resampled(a_model, first, second)
    assert (channel[:2] == 6).all()
    assert (channel[2:, 0, 1] == 7).all()


def test_inputs_of_different_frames_of_reference_are_never_interpolated(a_model):
    model = replace(a_model, inputs=(InputRole(role="t1"), InputRole(role="t2", resample=True)))
    other = volume(blobs((4, 5, 7)))
    other = replace(other, stack=replace(other.stack, frame_of_reference_uid="1.2.3.4"))
    with pytest.raises(MixedFrameOfReference, match="inputs t1 and t2 lie in different Frames of Reference"):
        Request(model, {"t1": volume(blobs((4, 5, 6))), "t2": other})


def test_inputs_of_different_frames_of_reference_are_refused_on_one_grid_too(a_model):
    image = volume(blobs((4, 5, 6)))
    other = replace(image, stack=replace(image.stack, frame_of_reference_uid="1.2.3.4"))
    model = replace(a_model, inputs=(InputRole(role="t1"), InputRole(role="t2")))
    with pytest.raises(MixedFrameOfReference, match="say any_frame = true"):
        Request(model, {"t1": image, "t2": other})
    allowed = replace(a_model, inputs=(InputRole(role="t1"), InputRole(role="t2", any_frame=True)))
    Request(allowed, {"t1": image, "t2": other}).close()


PLAIN = affine_lps(spacing_zyx_mm=(1, 1, 1), origin_mm=(0, 0, 0))


def moved(x: float = 0, y: float = 0, z: float = 0):
    affine = PLAIN.copy()
    affine[:3, 3] = (x, y, z)
    return affine


def test_half_a_voxel_beside_the_mean_of_two_neighbours_stands(a_model):
    first = volume(np.zeros((6, 8, 8), np.int16), PLAIN)
    values = np.random.default_rng(3).integers(0, 1000, (6, 8, 8)).astype(np.int16)
    along_rows, _ = resampled(a_model, first, volume(values, moved(x=-0.5)))
    np.testing.assert_allclose(along_rows[:, :, :-1], (values[:, :, :-1] + values[:, :, 1:]) / 2, atol=1e-3)
    np.testing.assert_allclose(along_rows[:, :, -1], values[:, :, -1], atol=1e-3)
    along_slices, _ = resampled(a_model, first, volume(values, moved(z=0.5)))
    np.testing.assert_allclose(along_slices[1:], (values[:-1] + values[1:]) / 2, atol=1e-3)
    np.testing.assert_allclose(along_slices[0], values[0], atol=1e-3)


def test_a_hundredth_of_a_millimetre_beside_is_the_same_grid(a_model):
    image = volume(blobs((4, 5, 6)), PLAIN)
    channel, notes = resampled(a_model, image, volume(blobs((4, 5, 6)), moved(x=0.009)))
    assert channel.dtype == image.values_zyx.dtype
    assert notes == ()


@pytest.mark.parametrize("affine", [moved(z=50), moved(x=-40), affine_lps(
    spacing_zyx_mm=(1, 1, 1), row=(0, 1, 0), column=(0, 0, -1), origin_mm=(200, 0, 0))])
def test_an_input_that_shares_no_place_with_the_first_is_refused(a_model, affine):
    model = replace(a_model, inputs=(InputRole(role="t1"), InputRole(role="t2", resample=True)))
    with pytest.raises(UnalignedInputs, match=r"t2 lies on another grid than t1.* and covers nothing of it"):
        Request(model, {"t1": volume(blobs((6, 8, 8)), PLAIN), "t2": volume(blobs((6, 8, 8)), affine)})


@pytest.mark.parametrize(("affine", "said"), [
    (moved(z=3), ("input t2 covers 50 % of t1: the rest was filled with its lowest value",)),
    (moved(x=0.3), ()),
])
def test_an_input_that_covers_the_first_in_part_is_said(a_model, affine, said):
    model = replace(a_model, inputs=(InputRole(role="t1"), InputRole(role="t2", resample=True)))
    request = Request(model, {"t1": volume(blobs((6, 8, 8)), PLAIN), "t2": volume(blobs((6, 8, 8)), affine)})
    assert request.warnings() == said
    request.close()


def test_an_input_on_the_same_grid_is_left_as_it_is(a_model):
    image = volume(blobs((4, 5, 6)))
    channel, notes = resampled(a_model, image, image)
    assert channel.dtype == image.values_zyx.dtype
    assert notes == ()


def test_an_input_that_may_be_absent_and_is_has_an_empty_channel_and_is_named(a_model):
    image = volume(blobs((4, 5, 6)))
    for modality, value in (("MR", 0), ("CT", -1000)):
        model = replace(a_model, inputs=(InputRole(role="t1"), InputRole(role="t2", required=False, modality=modality)))
        request = Request(model, {"t1": image})
        channel = wire.view(request.fds[1], request.message()["inputs"][1]["dtype"], request.message()["shape"])
        assert (channel == value).all()
        assert request.warnings() == ("input t2 is absent: the model ran without it",)
        assert request.notes() == ()
        request.close()


def test_the_input_that_gives_the_grid_must_be_there(a_model):
    model = replace(a_model, inputs=(InputRole(role="t1", required=False), InputRole(role="t2")))
    with pytest.raises(ModelFailed, match="no volume for the input t1"):
        Request(model, {"t2": volume(blobs((4, 5, 6)))})
