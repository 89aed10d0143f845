"""Where migrations, models and example configuration lie: in the installed package, else in the checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def shipped(kind: str) -> Path:
    """Return the folder of ``migrations``, ``models`` or ``config``.

    Raises
    ------
    FileNotFoundError
        If neither the package nor the repository root has it: the installation is incomplete.
    """
    for folder in (PACKAGE / "_shipped" / kind, PACKAGE.parent / kind):
        if folder.is_dir():
            return folder
    msg = f"{kind}: neither below {PACKAGE / '_shipped'} nor beside {PACKAGE}; install dicomnode-monai again"
    raise FileNotFoundError(msg)
