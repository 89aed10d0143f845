"""A map that somebody asks for: memory for it only then, and a sentence where the model gives none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.domain.settings import Outputs
from dicomnode.infer import wire
from dicomnode.infer.request import Request
from tests.builders import affine_lps
from tests.bundles import blobs, model_file, volume

IMAGE = volume(blobs((4, 5, 6)))


@pytest.fixture
def a_model(tmp_path):
    (tmp_path / "bundle").mkdir()
    return model_file(tmp_path / "bundle")


def test_without_an_asker_there_is_no_memory_for_a_map_and_nothing_to_say(a_model):
    request = Request(a_model, {"image": IMAGE})
    assert (len(request.fds), request.message()["quantity"]) == (2, "")
    assert request.map("") == (None, ())
    request.close()


def test_the_child_is_told_what_the_model_file_wants_shown_and_the_map_is_what_it_wrote(a_model):
    request = Request(replace(a_model, outputs=Outputs(quantity="uncertainty")), {"image": IMAGE}, with_map=True)
    assert request.message()["quantity"] == "uncertainty"
    wire.view(request.fds[-1], "float32", (4, 5, 6), writable=True)[...] = 0.25
    found, warnings = request.map("")
    assert warnings == ()
    np.testing.assert_array_equal(found, np.full((4, 5, 6), 0.25, np.float32))
    assert not request.labels().any()
    request.close()


def test_a_map_of_tilted_slices_comes_back_on_them(a_model):
    image = volume(blobs((4, 20, 6)), affine_lps(tilt_deg=12.0))
    request = Request(a_model, {"image": image}, with_map=True)
    shape = tuple(request.message()["shape"])
    wire.view(request.fds[-1], "float32", shape, writable=True)[...] = np.linspace(0, 1, shape[0])[:, None, None]
    found, _ = request.map("")
    assert (found.shape, found.dtype) == ((4, 20, 6), np.float32)
    assert shape != found.shape
    np.testing.assert_allclose(found[:, 3, 3], np.linspace(0, 1, 4), atol=1e-6)
    request.close()


def said(model, why):
    return (f"model {model.name} gives no parametric map: {why}; leave PM out of `outputs` and `takes` where it runs, "
            "and of its [outputs]")


@pytest.mark.parametrize("changes", [{"task": "detection"}, {"task": "classification"}, {"trust": "code"}])
def test_a_model_that_can_give_no_map_says_so_and_its_child_is_not_asked(a_model, changes):
    request = Request(replace(a_model, **changes), {"image": IMAGE}, with_map=True)
    assert (len(request.fds), request.message()["quantity"]) == (2, "")
    assert request.map("") == (None, (said(a_model, "only a segmentation with trust = 'pieces' can"),))
    request.close()


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
def test_what_is_no_fraction_is_no_map(a_model, value):
    request = Request(a_model, {"image": IMAGE}, with_map=True)
    wire.view(request.fds[-1], "float32", (4, 5, 6), writable=True)[1, 2, 3] = value
    assert request.map("") == (None, (said(a_model, "its values are no fractions of 0 to 1"),))
    request.close()


def test_what_the_child_could_not_write_is_said(a_model):
    request = Request(a_model, {"image": IMAGE}, with_map=True)
    assert request.map("it gives labels") == (None, (said(a_model, "it gives labels"),))
    request.close()
