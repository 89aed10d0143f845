"""Tests of one case follow each other, in whatever order the cases come: opening a study costs most."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    at = [index for index, item in enumerate(items) if item.path.parent == HERE and isinstance(item, pytest.Function)]
    own = [items[index] for index in at]
    order: dict[object, int] = {}
    for item in own:
        order.setdefault(_case(item), len(order))
    for index, item in zip(at, sorted(own, key=lambda item: order[_case(item)]), strict=True):
        items[index] = item


def _case(item: pytest.Item) -> object:
    return item.callspec.params.get("case") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
