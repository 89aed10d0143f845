"""What needs no model: the report that a study was not analysed, and the note that takes earlier results back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.findings import EncodedObject, NotAnalysed
from dicomnode.encode.kos import encode_rejection
from dicomnode.encode.text import encode_notice
from dicomnode.read.series import load_headers
from dicomnode.run.analyse import Identity, stamp_of


def notice(
    reason: NotAnalysed, paths: Sequence[Path], identity: Identity, *, clock: Callable[[], datetime]
) -> tuple[EncodedObject, ...]:
    """Encode the report that a study was not analysed, and why."""
    sources = load_headers(paths, charset_fallback=identity.charset_fallback)
    return (encode_notice(reason, sources, stamp_of(identity, (), clock())),)


def take_back(
    left: Mapping[str, Sequence[InstanceRef]],
    paths: Sequence[Path],
    identity: Identity,
    *,
    clock: Callable[[], datetime],
) -> dict[str, EncodedObject]:
    """Encode for each peer the note that rejects what it was sent of earlier analyses; nothing where it has nothing.

    Parameters
    ----------
    paths:
        An image of the study: patient and study are taken from it.
    """
    if not any(left.values()):
        return {}
    source, *_ = load_headers(paths, charset_fallback=identity.charset_fallback)
    stamp = stamp_of(identity, (), clock())
    return {peer: encode_rejection(sent, source, stamp, peer) for peer, sent in left.items() if sent}
