"""docs/training.md names every key of a recipe and every shipped recipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dicomnode.train.fit.recipe import COMPONENTS, shipped_recipes
from dicomnode.train.fit.settings import Schedule, Settings, StageSettings

DOCS = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"`(\w+)[`:]", DOCS))
KEYS = (*Settings.model_fields, *COMPONENTS, *Schedule.model_fields, *StageSettings.model_fields)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_a_recipe_is_documented(key):
    assert key in WORDS


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_documented(name):
    assert name in WORDS
