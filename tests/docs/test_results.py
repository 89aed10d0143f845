"""docs/results.md has every reason why a study may not be analysed, and every kind of object."""

from pathlib import Path

import pytest

from dicomnode.domain.node import TAKES
from dicomnode.encode.reasons import OTHER, REASONS

DOCS = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("reason", [*REASONS, "any other"])
def test_every_reason_is_listed_with_both_codes(reason):
    own, standard = REASONS.get(reason, OTHER)
    name = f"`{reason}`" if reason in REASONS else reason
    row = (f"| {name} | `{own.value}` | {own.meaning} | {own.meaning_zh} | "
           f"({standard.value}, DCM, {standard.meaning}) |")
    assert row in DOCS


def test_every_kind_of_object_is_listed():
    table = DOCS.split("\nOne template family", 1)[0]
    assert all(f"`{kind}`" in table for kind in TAKES)
