"""Each case is encoded once, however many programs judge it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.cases import CASES, Result, encoded


@pytest.fixture(scope="session")
def result_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Result]:
    """Return what came of a case, by its name."""
    made: dict[str, Result] = {}

    def result(name: str) -> Result:
        if name not in made:
            made[name] = encoded(CASES[name], tmp_path_factory.mktemp("case"))
        return made[name]

    return result
