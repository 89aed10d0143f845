"""The door to annotations: whatever the file, its structures or its boxes on a stack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dicomnode.domain.volume import SliceStack
from dicomnode.read.annotations import Box, Structure, opened, reading
from dicomnode.read.annotations_mask import structures_of_mask
from dicomnode.read.annotations_rtstruct import structures_of_rtstruct
from dicomnode.read.annotations_seg import structures_of_seg
from dicomnode.read.annotations_sr import boxes_of_sr


def structures_of(path: Path, kind: str, stack: SliceStack) -> Iterator[Structure]:
    """Yield the structures that a file marks on a stack, one at a time: each is a whole mask.

    Parameters
    ----------
    kind:
        SEG, RTSTRUCT, SR or MASK; a report has none.

    Raises
    ------
    UnusableAnnotation
        If the file is damaged, or does not fit the images.
    """
    if kind == "MASK":
        with reading(path):
            yield from structures_of_mask(path, stack)
    elif kind in {"SEG", "RTSTRUCT"}:
        dataset = opened(path)
        with reading(path):
            yield from structures_of_seg(dataset, stack) if kind == "SEG" else structures_of_rtstruct(dataset, stack)


def boxes_of(path: Path, kind: str, stack: SliceStack) -> tuple[Box, ...]:
    """Return the findings that a report draws on a stack; none for any other kind of file.

    Raises
    ------
    UnusableAnnotation
        If the report is damaged, or does not fit the images.
    """
    if kind != "SR":
        return ()
    dataset = opened(path)
    with reading(path):
        return tuple(boxes_of_sr(dataset, stack))
