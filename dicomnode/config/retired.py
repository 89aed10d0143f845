"""Categories of segments as older objects and their tools write them, and what took their place."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dicomnode.domain.dicom import Code

_STRUCTURE: Final = Code(value="91723000", scheme="SCT", meaning="Anatomical Structure")
_ALTERED: Final = Code(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure")
_TISSUE: Final = Code(value="85756007", scheme="SCT", meaning="Tissue")
_OBJECT: Final = Code(value="260787004", scheme="SCT", meaning="Physical object")

CATEGORIES: Final[Mapping[tuple[str, str], Code]] = MappingProxyType({
    ("SCT", "123037004"): _STRUCTURE,
    ("SRT", "T-D000A"): _STRUCTURE,
    ("SRT", "M-01000"): _ALTERED,
    ("SRT", "T-D0050"): _TISSUE,
    ("SRT", "A-00004"): _OBJECT,
})
"""(Scheme, value) of a category that PS3.16 CID 7150 no longer has → the code of the same meaning that it has now."""


def current_category(code: Code) -> Code:
    """Return a category as CID 7150 has it now; one that is not known as retired stays."""
    return CATEGORIES.get((code.scheme, code.value), code)
