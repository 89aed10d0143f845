"""The files of one series become a volume in patient geometry and the headers that results refer to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import Dataset, FileMetaDataset

from dicomnode.domain.dicom import uid
from dicomnode.domain.model import InputRole
from dicomnode.domain.volume import SliceStack, Volume
from dicomnode.errors import (
    CannotUnderstand,
    ConflictingInstances,
    DuplicatePositions,
    MissingGeometry,
    MixedMatrix,
    MixedOrientation,
    MixedPixelSpacing,
    NoSuitableSeries,
    UndecodablePixels,
)
from dicomnode.read.bounds import refuse_claim
from dicomnode.read.collect import ValueVolume
from dicomnode.read.frames import is_multiframe
from dicomnode.read.geometry import planes_of
from dicomnode.read.normalise import normalise
from dicomnode.read.part10 import Part10, parse
from dicomnode.read.phases import one_phase, refuse_entwined
from dicomnode.read.pixels import refuse_half_rescaled, rescale, stored_frames
from dicomnode.read.preflight import preflight
from dicomnode.read.values import numbers, texts

Going = Callable[[int], None]
"""Called before each file is parsed and before each is decoded, with the bytes that the volume takes (0 while it is not
known); what it raises ends the reading."""


MOST_DECODED_BYTES: Final = 8192 * 10**6
"""What one series may take in memory, where the configuration says nothing else."""
VOXEL_BYTES: Final = 4
"""Values that are no whole numbers are held in 32 bits."""
SEVERAL_STACKS: Final = (DuplicatePositions, MixedOrientation, MixedMatrix, MixedPixelSpacing)
"""Refusals of what may be one stack once the series is split."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedSeries:
    """One series, read.

    Parameters
    ----------
    sources:
        Headers without pixel data, normalised, in stack order; one for an Enhanced multi-frame image.
    notes:
        What was changed in the headers to make them usable, without patient data.
    warnings:
        What a reader of the result must know of the images.
    """

    volume: Volume
    sources: tuple[Dataset, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def _to_the_end(_bytes: int) -> None:
    """Let reading go on."""


def load(paths: Sequence[Path], role: InputRole, *, charset_fallback: str = "",
         going: Going = _to_the_end, most_bytes: int = MOST_DECODED_BYTES) -> LoadedSeries:
    """Read a series into one volume, or say exactly why it cannot be one.

    Parameters
    ----------
    paths:
        PS3.10 files of one series, in any order.
    role:
        What the model declares about this input: number of slices, spacing, tilt.
    going:
        Whether to go on; see ``Going``.
    most_bytes:
        What the series may take when decoded: Rows × Columns × frames, as declared, × 4 bytes. Nothing is decoded of
        one that claims more.

    Returns
    -------
    LoadedSeries
        ``volume.values_zyx`` in real-world values (HU for CT), int16 where that is exact, else float32;
        slice ``k`` lies on ``volume.stack.planes[k]``.

    Raises
    ------
    UnusableInput
        The class names the reason; see ``geometry.planes_of``, ``preflight.preflight``, ``pixels``.
    """
    parts = _parsed(paths, going, most_bytes)
    stack, warnings = _stack([part.header for part in parts.values()], role)
    admit(stack, role)
    refuse_claim(stack.series_uid, len(stack.planes) * stack.rows * stack.columns * VOXEL_BYTES, most_bytes)
    ordered = {plane.instance.sop_instance_uid: parts[plane.instance.sop_instance_uid] for plane in stack.planes}
    volume = Volume(values_zyx=_values(ordered, stack, going).values_zyx, stack=stack,
                    modality="".join(texts(next(iter(ordered.values())).header, "Modality")))
    sources, notes = _sources(
        list(ordered.values()), charset_fallback, lenient=False, between_mm=stack.slice_spacing_mm)
    return LoadedSeries(volume=volume, sources=sources, notes=notes, warnings=warnings)


def admit(stack: SliceStack, role: InputRole) -> None:
    """Refuse a stack that the model does not take; the only part of reading that depends on the role.

    Raises
    ------
    UnusableInput
        As ``preflight.preflight``; ``NoSuitableSeries`` where the number of slices is outside the role's.
    """
    if not role.slices.holds(len(stack.planes)):
        msg = f"series {stack.series_uid} has {len(stack.planes)} slices; the model takes {role.slices}"
        raise NoSuitableSeries(msg)
    preflight(stack, role.spacing_mm)


def load_headers(paths: Sequence[Path], *, charset_fallback: str = "") -> tuple[Dataset, ...]:
    """Return the normalised headers of whatever of ``paths`` can be parsed: for reports on what was not analysed.

    A name that cannot be read is left empty here, so that the report can go out.
    """
    parts = []
    for path in paths:
        try:
            parts.append(parse(path))
        except CannotUnderstand:
            continue
    return _sources(parts, charset_fallback, lenient=True)[0]


def _stack(headers: Sequence[Dataset], role: InputRole) -> tuple[SliceStack, tuple[str, ...]]:
    """Return the one stack of a series; of several, the one that the role takes, and a sentence that says so."""
    headers_of = {"".join(texts(header, "SOPInstanceUID")): header for header in headers}
    try:
        stack = planes_of(headers)
        placed = [(headers_of[plane.instance.sop_instance_uid], plane.frame) for plane in stack.planes]
        refuse_entwined(placed, stack.gaps_mm, role)
    except SEVERAL_STACKS:
        frames, said = one_phase(headers, role)
        if not said:
            raise
        used = [header for header in headers if any(header is one for one, _ in frames)]
        return planes_of(used, frames), (said,)
    return stack, ()


def _parsed(paths: Sequence[Path], going: Going, most_bytes: int) -> dict[str, Part10]:
    """Parse each file; SOP Instance UID → file. The same data set twice counts once."""
    parts: dict[str, Part10] = {}
    inflated_bytes = 0
    for path in paths:
        going(0)
        try:
            part = parse(path)
        except CannotUnderstand as error:
            raise UndecodablePixels(str(error)) from error
        inflated_bytes += len(part.inflated or b"")
        refuse_claim(path.name, inflated_bytes, most_bytes)
        name = "".join(texts(part.header, "SOPInstanceUID"))
        if not name:
            msg = f"{path.name}: SOPInstanceUID is absent: the image cannot be referred to"
            raise MissingGeometry(msg)
        _refuse_bad_identity(part)
        known = parts.setdefault(name, part)
        if known is not part and _data_set(known) != _data_set(part):
            msg = f"SOP Instance {name} is there twice with different content; keep the right one"
            raise ConflictingInstances(msg)
    return parts


def _refuse_bad_identity(part: Part10) -> None:
    for keyword in ("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        value = "".join(texts(part.header, keyword))
        try:
            uid(value or "0")  # what is absent is refused by those who need it
        except ValueError as error:
            msg = f"{part.path.name}: {keyword} is no UID: {error}"
            raise MissingGeometry(msg) from error


def _data_set(part: Part10) -> bytes:
    with part.stream() as stream:
        stream.seek(part.start)
        return stream.read()


def _values(parts: dict[str, Part10], stack: SliceStack, going: Going) -> ValueVolume:
    """Read the frames file by file, each into its slice."""
    refuse_half_rescaled([(parts[plane.instance.sop_instance_uid].header, plane.frame) for plane in stack.planes])
    volume = ValueVolume(stack.shape_zyx)
    slices: dict[str, list[tuple[int, int]]] = {}
    for index, plane in enumerate(stack.planes):
        slices.setdefault(plane.instance.sop_instance_uid, []).append((plane.frame, index))
    for name, frames in slices.items():
        going(volume.values_zyx.nbytes)
        part, frames_up = parts[name], sorted(frames)
        stored = stored_frames(part, [frame for frame, _ in frames_up])
        for (frame, index), values in zip(frames_up, stored, strict=True):
            volume.put(index, values, rescale(part.header, frame))
    return volume


def _sources(
    parts: Sequence[Part10], fallback: str, *, lenient: bool, between_mm: float | None = None,
) -> tuple[tuple[Dataset, ...], tuple[str, ...]]:
    counts: Counter[str] = Counter()
    for part in parts:
        normalise(part.header, charset_fallback=fallback, lenient=lenient, note=lambda text: counts.update([text]))
        if between_mm and not is_multiframe(part.header) and not numbers(part.header, "SliceThickness"):
            part.header.SliceThickness = f"{between_mm:.6g}"
            counts["SliceThickness is absent: the distance between slices stands for it"] += 1
        part.header.file_meta = FileMetaDataset(part.meta)
    notes = tuple(f"{text} ({count} images)" if count > 1 else text for text, count in counts.items())
    return tuple(part.header for part in parts), notes
