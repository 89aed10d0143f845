"""Identities of the DICOM world: UIDs, application entity titles, codes, references."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Self

UID_PATTERN: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
UID_MAX_CHARS: Final = 64

CT_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.2.1"
MR_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.4.1"
SEGMENTATION_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_SEGMENTATION_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.7"
COMPREHENSIVE_SR_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.88.33"
COMPREHENSIVE_3D_SR_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.88.34"
ENHANCED_SR_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.88.22"
BASIC_TEXT_SR_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.88.11"
SECONDARY_CAPTURE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.7"
KEY_OBJECT_SELECTION_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.88.59"

MANUFACTURER: Final = "dicomnode"
MODEL_NAME: Final = "dicomnode"
"""Manufacturer and ManufacturerModelName in every result: how the node knows its own output again."""
CHARACTER_SETS: Final = (
    "ISO_IR 6", "ISO_IR 13", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 126", "ISO_IR 127",
    "ISO_IR 138", "ISO_IR 144", "ISO_IR 148", "ISO_IR 166", "ISO_IR 192", "GB18030", "GBK",
    "ISO 2022 IR 6", "ISO 2022 IR 13", "ISO 2022 IR 58", "ISO 2022 IR 87", "ISO 2022 IR 100", "ISO 2022 IR 101",
    "ISO 2022 IR 109", "ISO 2022 IR 110", "ISO 2022 IR 126", "ISO 2022 IR 127", "ISO 2022 IR 138", "ISO 2022 IR 144",
    "ISO 2022 IR 148", "ISO 2022 IR 149", "ISO 2022 IR 159", "ISO 2022 IR 166",
)
"""Defined Terms of Specific Character Set (PS3.3 C.12.1.1.2) that the node can decode."""
IMPLEMENTATION_CLASS_UID: Final = "2.25.291046914763013386157461538842036131281"
IMPLEMENTATION_VERSION_NAME: Final = "DICOMNODE_0_1"


def uid(text: str) -> str:
    """A UID is at most 64 characters of dotted numbers without leading zeros (PS3.5 Section 9.1).

    Raises
    ------
    ValueError
        If ``text`` is anything else; a path separator can therefore never be part of a UID.
    """
    if len(text) > UID_MAX_CHARS or not UID_PATTERN.fullmatch(text):
        msg = f"not a UID: {text[:80]!r}; allowed are at most 64 characters of numbers joined by dots (PS3.5 9.1)"
        raise ValueError(msg)
    return text


def ae_title(text: str) -> str:
    r"""An AE title is 1 to 16 characters, no backslash, no control character (PS3.5 Table 6.2-1).

    Returns
    -------
    str
        The title without its insignificant leading and trailing spaces.
    """
    title = text.strip(" ")
    if not 1 <= len(title) <= 16 or not all(" " <= c <= "~" and c != "\\" for c in title):  # noqa: PLR2004
        msg = f"not an AE title: {text[:40]!r}; allowed are 1 to 16 printable ASCII characters without backslash"
        raise ValueError(msg)
    return title


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A coded concept (PS3.3 Section 8): value, scheme, meaning; ``meaning_zh`` for readers of Chinese."""

    value: str
    scheme: str
    meaning: str
    meaning_zh: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Refuse an empty part or a meaning over 64 characters (VR LO)."""
        if not (self.value and self.scheme and self.meaning):
            msg = f"a code needs value, scheme and meaning, got {self}"
            raise ValueError(msg)
        longest_meaning = max(len(self.meaning), len(self.meaning_zh))
        if len(self.value) > 16 or len(self.scheme) > 16 or longest_meaning > 64:  # noqa: PLR2004
            msg = f"code value and scheme have at most 16 characters, meaning 64, got {self}"
            raise ValueError(msg)

    def __str__(self) -> str:
        """Show the code as the standard writes it."""
        return f"({self.value}, {self.scheme}, {self.meaning!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRef:
    """One SOP Instance."""

    sop_class_uid: str
    sop_instance_uid: str

    def __post_init__(self) -> None:
        """Refuse what is no UID."""
        uid(self.sop_class_uid)
        uid(self.sop_instance_uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRef:
    """One series and its instances, in a stated order."""

    series_uid: str
    instances: tuple[InstanceRef, ...]

    def __post_init__(self) -> None:
        """Refuse what is no UID."""
        uid(self.series_uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRef:
    """One study and those of its series that matter here."""

    study_uid: str
    series: tuple[SeriesRef, ...]

    def __post_init__(self) -> None:
        """Refuse what is no UID."""
        uid(self.study_uid)

    @classmethod
    def of(cls, study_uid: str, *series: SeriesRef) -> Self:
        """Build from positional series."""
        return cls(study_uid=study_uid, series=series)
