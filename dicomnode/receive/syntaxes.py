"""Transfer syntaxes that this installation can decode, and therefore offers (PS3.5 Section 10)."""

from __future__ import annotations

from importlib.machinery import PathFinder
from typing import Final

EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"
IMPLICIT_LE: Final = "1.2.840.10008.1.2"
DEFLATED_LE: Final = "1.2.840.10008.1.2.1.99"

UNCOMPRESSED: Final = (EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE)
COMPRESSED: Final = (
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction: what CT archives hold
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless Only
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000 Lossless Only
    "1.2.840.10008.1.2.4.202",  # High-Throughput JPEG 2000 with RPCL, Lossless Only
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline 8 bit
    "1.2.840.10008.1.2.4.51",  # JPEG Extended, 12 bit: what lossy CT would use
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
)
"""Lossless before lossy: of several offered in one context, the first in this order is accepted."""


DECODERS: Final = {
    "1.2.840.10008.1.2.4.70": ("gdcm", "libjpeg"),
    "1.2.840.10008.1.2.4.57": ("gdcm", "libjpeg"),
    "1.2.840.10008.1.2.4.80": ("gdcm", "jpeg_ls", "libjpeg"),
    "1.2.840.10008.1.2.4.90": ("gdcm", "openjpeg"),
    "1.2.840.10008.1.2.4.201": ("openjpeg",),
    "1.2.840.10008.1.2.4.202": ("openjpeg",),
    "1.2.840.10008.1.2.4.50": ("gdcm", "libjpeg"),
    "1.2.840.10008.1.2.4.51": ("libjpeg",),  # the others refuse the 12-bit samples that CT and MR have
    "1.2.840.10008.1.2.4.81": ("gdcm", "jpeg_ls", "libjpeg"),
    "1.2.840.10008.1.2.4.91": ("gdcm", "openjpeg"),
    "1.2.840.10008.1.2.4.203": ("openjpeg",),
}
"""Packages of which one must be installed; RLE Lossless needs none, pydicom decodes it."""


def decodable_transfer_syntaxes() -> tuple[str, ...]:
    """Every little-endian syntax whose decoder is installed, in the order of preference.

    Notes
    -----
    Big Endian is retired and not offered: a sender must then convert, and it always can (PS3.5 Section 10.1).
    The decoders are looked for and not imported: the receiver, which offers the syntaxes, never decodes.
    """
    return (*UNCOMPRESSED, *filter(_is_decodable, COMPRESSED))


def _is_decodable(transfer_syntax_uid: str) -> bool:
    needed = DECODERS.get(transfer_syntax_uid)
    return needed is None or any(PathFinder.find_spec(package) for package in needed)
