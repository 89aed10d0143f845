"""How ``when``, ``[limits]`` and ``prefer`` are written: values, conditions and wishes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidatorFunctionWrapHandler, WrapValidator

from dicomnode.config.kinds import Keyword, as_list, as_text, near
from dicomnode.domain.condition import Condition, Wanted, Wish

CONDITION_KEYS: Final = ("any_of", "contains", "lacks", "min", "max", "present", "or_absent")
TEXTS: Final = frozenset({"any_of", "contains", "lacks"})
BOUNDS: Final = frozenset({"min", "max"})


def wanted_of(table: Mapping[str, Any]) -> dict[str, Wanted]:
    """Return checked conditions as the domain has them."""
    return {key: value if isinstance(value, Condition) else tuple(value) for key, value in table.items()}


def _values_or_condition(value: object, values: ValidatorFunctionWrapHandler) -> object:
    return _condition(value) if isinstance(value, dict) else values(value)


def _condition(table: Mapping[str, object]) -> Condition:
    for key in table:
        if key not in CONDITION_KEYS:
            hint = near(key, CONDITION_KEYS) or f"; known are {', '.join(CONDITION_KEYS)}"
            msg = f"unknown key {key!r}{hint}"
            raise ValueError(msg)
    given: dict[str, Any] = {key: _part(key, value) for key, value in table.items()}
    return Condition(**given)


def _part(key: str, value: object) -> tuple[str, ...] | float | bool:
    if key in TEXTS:
        return _texts(key, value)
    if key in BOUNDS:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            msg = f"{key}: allowed are finite numbers"
            raise ValueError(msg)
        return float(value)
    if not isinstance(value, bool):
        msg = f"{key}: allowed are true and false"
        raise ValueError(msg)  # noqa: TRY004 - a mistake in a file, as all the others
    return value


def _texts(key: str, value: object) -> tuple[str, ...]:
    texts = tuple(as_text(item) for item in as_list(value))
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        msg = f"{key}: allowed is a text, or a list of texts"
        raise ValueError(msg)
    return tuple(str(text) for text in texts)


def _wish(value: object) -> Wish:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if isinstance(value, list) and value and all(isinstance(text, str) and text.strip() for text in value):
        return tuple(value)
    msg = ("allowed are thinnest, thickest, most, soft, sharp, present, absent, a number to be near to, a text to "
           "contain, or a list of texts, the best first")
    raise ValueError(msg)


Values = Annotated[list[Annotated[str, BeforeValidator(as_text)]], BeforeValidator(as_list), Field(min_length=1),
                   WrapValidator(_values_or_condition)]
When = dict[Keyword, Values]
"""``Modality = "CT"``, ``Modality = ["CT", "MR"]`` or ``EchoTime = { min = 70 }``: DICOM keyword → what it must say."""
Wishes = dict[Keyword, Annotated[Any, BeforeValidator(_wish)]]
"""``prefer``: DICOM keyword → what scores higher."""
