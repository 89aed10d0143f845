"""Names that say nothing: a keyed hash of who a patient is, whose key stays out of the data set."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from pathlib import Path
from typing import Final

from dicomnode.errors import UnusableDataset

KEY_BYTES: Final = 32
NAME_CHARS: Final = 10
UID: Final = re.compile(r"\b[012](?:\.\d+){2,}\b")
UID_END: Final = re.compile(r"…[\d.]+")


class Pseudonyms:
    """Gives patients, series and whatever else a name that only the key can tie to them.

    Parameters
    ----------
    key:
        Random; the same key gives the same names.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, kind: str, *identity: str) -> str:
        """Return a name of a letter and ten hexadecimal digits; ``kind`` gives the letter."""
        digest = hmac.new(self._key, "\0".join((kind, *identity)).encode(), "sha256").hexdigest()
        return f"{kind[0]}{digest[:NAME_CHARS]}"

    def without_uids(self, text: str) -> str:
        """Return a sentence with each UID replaced by its pseudonym."""
        return UID_END.sub("…", UID.sub(lambda found: self.of("uid", found[0]), text))


def key_of(path: Path | None) -> bytes:
    """Return the key that a file holds; make the file, readable by its owner alone, if it is not there.

    Without a file the key is random and forgotten: nobody can tie the data set to patients again.

    Raises
    ------
    UnusableDataset
        If the file holds no key, or cannot be made.
    """
    if path is None:
        return secrets.token_bytes(KEY_BYTES)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return _made(path)
    except (OSError, ValueError) as error:
        raise UnusableDataset(f"{path}: no key ({type(error).__name__}); allowed are 64 hexadecimal digits") from error
    if len(key) != KEY_BYTES:
        raise UnusableDataset(f"{path}: a key of {len(key)} bytes; allowed are {2 * KEY_BYTES} hexadecimal digits")
    return key


def _made(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UnusableDataset(f"--keep-key {path}: cannot be made: {error.strerror}; name a file in a folder that is "
                              "there") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key.hex() + "\n")
    return key
