"""Small data sets that come with DIMSE-N messages: walked before they are parsed, so that none of them can do harm."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from dicomnode.errors import CannotUnderstand
from dicomnode.receive.syntaxes import IMPLICIT_LE
from dicomnode.receive.walk import walk_for

UNREADABLE: Final = (
    CannotUnderstand, ValueError, LookupError, AttributeError, TypeError, EOFError, OSError, NotImplementedError,
    RecursionError, MemoryError, struct.error,
)
"""What reading such a data set, and asking it for attributes, may raise on damaged bytes."""


def read_message(data: bytes, *, transfer_syntax_uid: str) -> Dataset:
    """Return the data set of a message, Little Endian; raises one of ``UNREADABLE``.

    Notes
    -----
    pydicom goes into sequences of undefined length by recursion; the walk refuses what nests deeper than any message.
    """
    walk = walk_for(transfer_syntax_uid, most_bytes=len(data))
    walk.feed(data)
    walk.finish()
    return read_dataset(BytesIO(data), is_implicit_VR=transfer_syntax_uid == IMPLICIT_LE, is_little_endian=True)
