"""What the ledger answers when asked for what it never heard of."""

from __future__ import annotations

from typing import Final

from dicomnode.errors import DicomNodeError

EXIT_NOT_POSSIBLE: Final = 1


class NotInLedger(DicomNodeError):
    """No study or job of this name is known here."""

    exit_code = EXIT_NOT_POSSIBLE
