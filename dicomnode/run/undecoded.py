"""Receiver and keeper hold pixel data and never decode them: in their processes no decoder can be loaded.

Notes
-----
pydicom imports every decoder that it finds as soon as it is imported. They are large C and C++ programs that parse
what strangers send; a process that only stores or indexes has no use for them. A name that stands as None in
``sys.modules`` cannot be imported, and pydicom then goes on without that decoder.
"""

from __future__ import annotations

import sys
from typing import Final

DECODERS: Final = ("gdcm", "_gdcm", "pylibjpeg", "openjpeg", "_openjpeg", "libjpeg", "_libjpeg", "jpeg_ls",
                   "PIL")
"""Import names of the decoders that pydicom looks for."""


def shut_out_decoders() -> None:
    """From now on no pixel decoder can be imported in this process; call it before anything imports pydicom.

    Raises
    ------
    RuntimeError
        If one is loaded already: shutting it out would come too late.
    """
    loaded = [name for name in DECODERS if sys.modules.get(name) is not None]
    if loaded:
        raise RuntimeError(f"{', '.join(loaded)} loaded before this process could shut pixel decoders out")
    for name in DECODERS:
        sys.modules[name] = None  # type: ignore[assignment]  # how the import system writes 'not to be had'
