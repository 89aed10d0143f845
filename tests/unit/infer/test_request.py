"""What a child is told: geometry as NIfTI has it, and no patient data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomnode.domain.model import InputRole, Label, ModelFile
from dicomnode.errors import ModelFailed
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
    with pytest.raises(ModelFailed, match=r"t2 lies on another grid than t1"):
        Request(model, {"t1": volume(blobs((4, 5, 6))), "t2": volume(blobs((4, 5, 7)))})
