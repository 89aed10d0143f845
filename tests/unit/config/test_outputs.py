"""What a model file may ask to be written."""

from pathlib import Path

import pytest

from dicomnode import config
from dicomnode.domain.settings import Outputs
from dicomnode.errors import ConfigError

EXAMPLE = (Path(__file__).parents[3] / "config" / "model.example.toml").read_text(encoding="utf-8")
ASKED = EXAMPLE.replace("# parametric = false", "parametric = true")


def test_boxes_contours_and_maps_are_made_only_where_asked_for():
    plain = config.model_from_text(EXAMPLE, source="m.toml").outputs
    assert (plain.gsps, plain.rtstruct, plain.parametric, plain.capture) == (False, False, False, False)
    wished = ASKED.replace("# gsps = false", "gsps = true").replace("# rtstruct = false", "rtstruct = true").replace(
        '# quantity = "probability"', 'quantity = "uncertainty"')
    asked = config.model_from_text(wished, source="m.toml").outputs
    assert (asked.gsps, asked.rtstruct, asked.parametric, asked.quantity) == (True, True, True, "uncertainty")


def test_a_map_is_refused_where_no_model_of_that_kind_gives_one():
    with pytest.raises(ConfigError) as caught:
        config.model_from_text(ASKED.replace("task =", 'trust = "code"\ntask =', 1), source="m.toml")
    assert any("parametric = true: allowed only for a segmentation with trust = 'pieces'" in problem
               for problem in caught.value.problems)


def test_an_unknown_quantity_is_refused():
    with pytest.raises(ConfigError):
        config.model_from_text(EXAMPLE.replace('# quantity = "probability"', 'quantity = "beauty"'), source="m.toml")
    with pytest.raises(ValueError, match="allowed are probability, uncertainty"):
        Outputs(quantity="beauty")
