"""Reasons of an A-ABORT by the service provider (PS3.8 Table 9-26)."""

from __future__ import annotations

from typing import Final

NOT_SPECIFIED: Final = 0
UNRECOGNIZED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
INVALID_PARAMETER: Final = 6
