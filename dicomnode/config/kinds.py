"""The kinds of value that a key may have, each with what it allows."""

from __future__ import annotations

import re
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field

from dicomnode.domain.dicom import (
    CHARACTER_SETS,
    CT_IMAGE_STORAGE,
    ENHANCED_CT_IMAGE_STORAGE,
    ENHANCED_MR_IMAGE_STORAGE,
    MR_IMAGE_STORAGE,
    ae_title,
    uid,
)
from dicomnode.domain.security import HIGHEST_PORT
from dicomnode.domain.study import INDEXED_KEYWORDS

SOP_CLASS_NAMES: Final = {
    "CTImageStorage": CT_IMAGE_STORAGE,
    "EnhancedCTImageStorage": ENHANCED_CT_IMAGE_STORAGE,
    "MRImageStorage": MR_IMAGE_STORAGE,
    "EnhancedMRImageStorage": ENHANCED_MR_IMAGE_STORAGE,
}
"""The SOP classes that a configuration may name by word (PS3.6 Table A-1); any other by its UID."""


HOST_NAME: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
                              r"(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?")
"""Labels of letters, digits and hyphens joined by dots (RFC 1123 2.1); underscores, which containers use, too."""
FINGERPRINT: Final = re.compile(r"(?i:sha256:)([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}")
LOOKS_LIKE_IPV4: Final = re.compile(r"[0-9.]+")
"""A name of digits and dots alone is an IP address with a mistake."""


def near(word: str, known: tuple[str, ...]) -> str:
    """Return '; did you mean X?' where a known word resembles ``word``, else ''."""
    by_lower = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""


def _keyword(word: str) -> str:
    if word not in INDEXED_KEYWORDS:
        hint = near(word, INDEXED_KEYWORDS) or "; docs/configuration.md lists them"
        msg = f"not an attribute that the node keeps{hint}"
        raise ValueError(msg)
    return word


def as_list(value: object) -> list[object]:
    """Return a value alone as a list of it."""
    return value if isinstance(value, list) else [value]


def as_text(value: object) -> object:
    """Return a number as the text that a file could have said."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def _sop_class(text: str) -> str:
    if text in SOP_CLASS_NAMES:
        return SOP_CLASS_NAMES[text]
    try:
        return uid(text)
    except ValueError:
        msg = f"allowed are a SOP Class UID, or {', '.join(SOP_CLASS_NAMES)}{near(text, tuple(SOP_CLASS_NAMES))}"
        raise ValueError(msg) from None


def _network(text: str) -> str:
    try:
        ip_network(text, strict=False)
    except ValueError:
        msg = 'allowed are an IP address or a block such as "10.1.0.0/16"'
        raise ValueError(msg) from None
    return text


def _charset(text: str) -> str:
    if text and text not in CHARACTER_SETS:
        hint = near(text, CHARACTER_SETS)
        msg = f'allowed are "" and the Defined Terms of PS3.3 C.12.1.1.2, such as "ISO_IR 192" and "GB18030"{hint}'
        raise ValueError(msg)
    return text


def _tls_name(text: str) -> str:
    if text.lower().startswith("sha256:") and not FINGERPRINT.fullmatch(text):
        msg = 'a fingerprint is "sha256:" and 64 hexadecimal digits (openssl x509 -noout -fingerprint -sha256 -in FILE)'
        raise ValueError(msg)
    return text


def _rate_or_zero(value: float) -> float:
    if 0 < value < 1:
        msg = "allowed are 0 (no limit) and values from 1"
        raise ValueError(msg)
    return value


def _bind(text: str) -> str:
    try:
        ip_address(text)
    except ValueError:
        if not HOST_NAME.fullmatch(text) or LOOKS_LIKE_IPV4.fullmatch(text):
            msg = 'allowed are an IP address, such as "0.0.0.0", or a host name'
            raise ValueError(msg) from None
    return text


Count = Annotated[int, Field(gt=0)]
Processes = Annotated[int, Field(gt=0, le=64)]
CountOrZero = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
AmountOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=1, allow_inf_nan=False)]
"""At least one second: a lease or a repetition that is shorter does nothing but ask the database."""
RateOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_rate_or_zero)]
"""A slower sender than one object a second would run into its own time limit."""
Number = Annotated[float, Field(allow_inf_nan=False)]
AtLeastOne = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Tilt = Annotated[float, Field(ge=0, le=45, allow_inf_nan=False)]
"""Degrees: no gantry leans further than 30, and beyond 45 slices lie rather along one another than on one another."""
Fraction = Annotated[float, Field(ge=0, le=1)]
ListenPort = Annotated[int, Field(ge=0, le=HIGHEST_PORT)]
PeerPort = Annotated[int, Field(ge=1, le=HIGHEST_PORT)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Names = Annotated[list[Name], BeforeValidator(as_list)]
AeTitle = Annotated[str, AfterValidator(ae_title)]
Bind = Annotated[str, AfterValidator(_bind)]
Charset = Annotated[str, AfterValidator(_charset)]
Network = Annotated[str, AfterValidator(_network)]
TlsName = Annotated[str, Field(min_length=1), AfterValidator(_tls_name)]
SopClass = Annotated[str, AfterValidator(_sop_class)]
Keyword = Annotated[str, AfterValidator(_keyword)]
