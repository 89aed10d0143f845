"""docs/inputs.md says what tests hold: each row names one, each reason is a class, each class of refusal has a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from dicomnode import errors
from dicomnode.domain.model import SpacingLimits
from dicomnode.domain.spacing import HOLE_FRACTION
from dicomnode.infer.straight import EVEN_FRACTION, EVEN_MM

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
ROWS = [tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| Oddity")]
OF_ANNOTATIONS = {"UnusableAnnotation"}
"""Refusals that concern what people drew, not images: docs/datasets.md tells of them."""


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_the_page_has_a_row_for_every_trap():
    assert len(ROWS) > 60
    assert all(len(row) == 4 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:50] for row in ROWS])
def test_each_row_is_held_by_a_test_that_exists(row):
    file, _, name = row[3].partition("::")
    assert name in functions_of(ROOT / file), row[3]


def test_each_reason_is_a_class_of_errors_and_each_refusal_of_an_image_has_a_row():
    named = {name for row in ROWS for name in re.findall(r"`(\w+)`", row[2])}
    classes = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    refusals = {name for name, kind in classes.items() if issubclass(kind, errors.UnusableInput)} - {"UnusableInput"}
    assert named <= set(classes)
    assert refusals - OF_ANNOTATIONS <= named


def test_the_numbers_of_the_page_are_the_programs():
    assert f"Positions within {EVEN_MM:g} mm, or within {100 * EVEN_FRACTION:g} % of the spacing" in PAGE
    assert f"a gap of {HOLE_FRACTION:g} times the median or more" in PAGE
    assert SpacingLimits().uneven == EVEN_FRACTION


def test_each_key_of_spacing_that_the_page_names_is_one():
    named = set(re.findall(r"`(\w+)`", PAGE)) & {"tilt_deg", "uneven", "max_gap"}
    assert named == {"tilt_deg", "uneven", "max_gap"}
    assert named <= set(SpacingLimits.__dataclass_fields__)
