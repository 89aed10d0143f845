"""Headers as the encoder needs them: decoded text, every Type 2 attribute there, impossible values emptied."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Final, cast

from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from dicomnode.errors import UndecodableText
from dicomnode.read.charset import ESCAPE, TEXT_VRS, declared, decode, speak_for_themselves
from dicomnode.read.part10 import PARSE_ERRORS
from dicomnode.read.values import tag_and_vr, texts

UTF8: Final = "ISO_IR 192"
IDENTITY_TEXT: Final = frozenset({
    "PatientName", "PatientID", "IssuerOfPatientID", "OtherPatientIDs", "OtherPatientNames", "AccessionNumber",
    "StudyID",
})
"""Text that says whose images these are: unreadable, the study is held, not renamed."""
WANTED: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)
"""Type 2 attributes of the Patient and General Study Modules (PS3.3 C.7.1.1, C.7.2.1)."""
SINGLE: Final = (*WANTED, "IssuerOfPatientID", "StudyDescription", "PatientAge", "StudyInstanceUID", "Manufacturer")
"""Attributes that have one value (VM 1) and that results copy."""
LONGEST: Final = {"SH": 16, "LO": 64, "CS": 16}
"""Most characters of a value (PS3.5 Table 6.2-1)."""
DATES: Final = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
TIMES: Final = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "PatientBirthTime")
SEXES: Final = frozenset({"", "M", "F", "O"})
"""Enumerated values of Patient's Sex (0010,0040), and unknown (PS3.3 C.7.1.1)."""
TIME_PATTERN: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d|60)?(?<=\d{6})(\.\d{1,6})?|[0-5]\d)?")
AGE_PATTERN: Final = re.compile(r"\d{3}[DWMY]")
DATE_PATTERN: Final = re.compile(r"(\d{4})[.]?(\d{2})[.]?(\d{2})")

DAMAGED: Final = (*PARSE_ERRORS, OSError)
"""What pydicom raises when a sequence is opened, or an element in it."""

Note = Callable[[str], None]


def normalise(header: Dataset, *, charset_fallback: str, lenient: bool, note: Note) -> None:
    """Make a header fit to be copied into results; each change that loses something is noted, without its value.

    Parameters
    ----------
    charset_fallback:
        Specific Character Set assumed where none that is known is declared and bytes above 0x7F occur.
    lenient:
        Empty an unreadable name or identifier where ``UndecodableText`` would be raised: for reports that must go out.

    Raises
    ------
    UndecodableText
        If a name or identifier of the patient or study is not of its character set.
    """
    terms, written = declared(header), texts(header, "SpecificCharacterSet")
    if terms != written:
        note(f"SpecificCharacterSet is misspelt: read as {_listed(terms)}")
    _decode_texts(header, terms, charset_fallback, lenient=lenient, note=note)
    _put(header, "SpecificCharacterSet", UTF8)
    for keyword in SINGLE:
        values = texts(header, keyword)
        if len(values) > 1:
            note(f"{keyword} has {len(values)} values where one is allowed: the first is kept")
            _put(header, keyword, values[0])
    for keyword in WANTED:
        if tag_and_vr(keyword)[0] not in header:
            note(f"{keyword} is absent: left empty")
            _put(header, keyword, "")
    _repair(header, "PatientSex", lambda text: text if text in SEXES else None, note)
    _repair(header, "PatientAge", lambda text: text if AGE_PATTERN.fullmatch(text) else None, note)
    for keywords, fixed in ((DATES, date_text), (TIMES, time_text)):
        for keyword in keywords:
            _repair(header, keyword, fixed, note)
    _shorten(header, note)


def date_text(text: str) -> str | None:
    """Return a date as YYYYMMDD, '' for an empty one, None for what is no date (PS3.5 Table 6.2-1, DA)."""
    match = DATE_PATTERN.fullmatch(text)
    if not text or not match:
        return None if text else ""
    try:
        return date(*(int(part) for part in match.groups())).strftime("%Y%m%d")
    except ValueError:
        return None


def time_text(text: str) -> str | None:
    """Return a time as HHMMSS.FFFFFF or a leading part of it, None for what is no time (PS3.5 Table 6.2-1, TM)."""
    plain = text.replace(":", "")
    return plain if not plain or TIME_PATTERN.fullmatch(plain) else None


def _repair(header: Dataset, keyword: str, fixed: Callable[[str], str | None], note: Note) -> None:
    values = texts(header, keyword)
    if len(values) != 1 or (right := fixed(values[0])) == values[0]:
        return
    if right is None:
        note(f"{keyword} holds no valid value: left empty")
    _put(header, keyword, right or "")


def _shorten(header: Dataset, note: Note) -> None:
    """Cut what is longer than its VR allows; not what archives file a study by, which must stay what they have."""
    for tag in list(header.keys()):
        element = cast("RawDataElement | DataElement", header.get_item(tag))
        vr = element.VR if element.VR not in {None, "UN"} else _vr(tag)
        most = LONGEST.get(vr)
        if most is None or (isinstance(element, RawDataElement) and len(element.value or b"") <= most):
            continue
        keyword = keyword_for_tag(tag)
        values = texts(header, keyword) if keyword else ()
        longest = max(map(len, values), default=0)
        if longest > most and keyword in IDENTITY_TEXT:
            note(f"{keyword} has {longest} characters where {most} are allowed: kept, archives file studies by it")
        elif longest > most:
            note(f"{keyword} has {longest} characters where {most} are allowed: cut")
            _put_tag(header, tag, vr, "\\".join(value[:most].rstrip() for value in values))


def _decode_texts(
    header: Dataset, terms: tuple[str, ...], fallback: str, *, lenient: bool, note: Note, top: bool = True,
) -> None:
    for tag in list(header.keys()):
        element = cast("RawDataElement | DataElement | None", header.get_item(tag))
        if isinstance(element, RawDataElement):
            vr = element.VR if element.VR not in {None, "UN"} else _vr(tag)
            raw = element.value or b""
            if vr == "SQ" and not _is_plain(raw):
                element = _opened(header, tag)
            elif vr in TEXT_VRS and not _is_plain(raw):
                keyword = keyword_for_tag(tag) if top else ""
                text = _decoded(header, keyword, raw, terms, fallback, lenient=lenient, note=note)
                _put_tag(header, tag, vr, text)
        if isinstance(element, DataElement) and element.VR == "SQ":
            try:
                for item in element.value:
                    _decode_texts(item, declared(item) or terms, fallback, lenient=lenient, note=note, top=False)
            except DAMAGED:
                element = None
        if element is None:
            del header[tag]
            note(f"{keyword_for_tag(tag) or tag} is a damaged sequence: left out")


def _opened(header: Dataset, tag: BaseTag) -> DataElement | None:
    """Return a sequence with its items; None where it cannot be read."""
    try:
        return header[tag]
    except DAMAGED:
        return None


def _decoded(
    header: Dataset, keyword: str, raw: bytes, terms: tuple[str, ...], fallback: str, *, lenient: bool, note: Note,
) -> str:
    try:
        return decode(raw.rstrip(b" \0"), terms, fallback=fallback)
    except UnicodeError as error:
        if keyword in IDENTITY_TEXT and not lenient:
            name = "".join(texts(header, "SOPInstanceUID"))
            what_next = "correct it at the sender: charset_fallback stands only where no known set is declared" \
                if speak_for_themselves(terms) else \
                'set charset_fallback (e.g. "GB18030") for the peer that sends them'
            msg = (
                f"SOP Instance {name}: {keyword} cannot be read: Specific Character Set (0008,0005) is "
                f"{list(terms) or 'absent'} and its bytes are not of it; {what_next}"
            )
            raise UndecodableText(msg) from error
        note(f"{keyword or 'a nested text'} is not of its character set: left empty")
        return ""


def _listed(terms: tuple[str, ...]) -> str:
    return "\\".join(terms)


def _is_plain(raw: bytes) -> bool:
    return raw.isascii() and ESCAPE not in raw


def _vr(tag: int) -> str:
    return dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"


def _put(header: Dataset, keyword: str, value: str) -> None:
    tag, vr = tag_and_vr(keyword)
    _put_tag(header, tag, vr, value)


def _put_tag(header: Dataset, tag: int, vr: str, value: str) -> None:
    header[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)
