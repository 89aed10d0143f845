"""What the ledger answers when asked for what it never heard of."""

from __future__ import annotations

from dicomnode.errors import EXIT_BAD_DATA, DicomNodeError


class NotInLedger(DicomNodeError):
    """No study or job of this name is known here."""

    exit_code = EXIT_BAD_DATA
