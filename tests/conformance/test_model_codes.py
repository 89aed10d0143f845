"""The codes of the model files that come with the project, by the rules for the objects that they end up in."""

import tomllib
from pathlib import Path

import pytest

from tests.rules.codes import CALLED, IN_REPORTS, IN_SEQUENCES

CONFIG = Path(__file__).resolve().parents[2] / "config"
FILES = [*sorted((CONFIG / "models").glob("*.toml")), CONFIG / "model.example.toml"]
PLACES = {
    "category": IN_SEQUENCES["SegmentedPropertyCategoryCodeSequence"],
    "type": IN_SEQUENCES["SegmentedPropertyTypeCodeSequence"],
    "modifier": IN_SEQUENCES["SegmentedPropertyTypeModifierCodeSequence"],
    "region": IN_SEQUENCES["AnatomicRegionSequence"], "finding_site": IN_SEQUENCES["AnatomicRegionSequence"],
    "procedure": IN_REPORTS["121058"], "code": frozenset(CALLED),
}
"""Key of a model file → codes of the context group of the place where it is written."""


def codes_in(table):
    for key, value in table.items():
        if isinstance(value, dict) and {"value", "scheme", "meaning"} <= set(value):
            yield key, value
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict) and "scheme" not in part:
                yield from codes_in(part)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_code_of_a_model_file_is_of_its_context_group_and_called_as_there(path):
    found = list(codes_in(tomllib.loads(path.read_text(encoding="utf-8"))))
    assert found
    for key, code in found:
        assert (code["scheme"], code["value"]) in PLACES[key], (key, code)
        assert code["meaning"].casefold() in CALLED[code["scheme"], code["value"]], (key, code)
