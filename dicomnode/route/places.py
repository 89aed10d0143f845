"""Where the images of a series lie, as the index says it, and what the reader of pixels will not take of that."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.model import InputRole
from dicomnode.domain.slice_names import slice_names
from dicomnode.domain.spacing import NO_VOLUME, Places, fault
from dicomnode.domain.study import InstanceRecord
from dicomnode.domain.volume import SAME_ORIENTATION_TOLERANCE

SAME_PLACE_MM: Final = 0.01
"""Images nearer than this along the normal have one place, as for the reader of pixels."""
SAME_SPACING_FRACTION: Final = 1e-4
"""Pixel spacings differ by more than this, as for the reader of pixels."""
FARTHEST_MM: Final = 1e9
"""No place in a patient, and no spacing, is further: what says so is no number to reckon with."""
MOST_FRAMES: Final = 2**31 - 1
"""The largest Integer String (PS3.5 Table 6.2-1)."""
AXES: Final = ("sagittal", "coronal", "axial")
COSINES: Final = "ImageOrientationPatient"

Images = tuple[InstanceRecord, ...]


def slice_count(images: Images) -> int:
    """Return the number of planes: frames of multi-frame images count each."""
    return sum(min(max(1, int(image.number("NumberOfFrames") or 1)), MOST_FRAMES) for image in images)


def is_placed(image: InstanceRecord) -> bool:
    """Whether an image says where it lies."""
    return _row(image, COSINES, 6) is not None and _row(image, "ImagePositionPatient", 3) is not None


def orientation(image: InstanceRecord) -> str:
    """Name the plane nearest to the image's: axial, sagittal or coronal; '' if its orientation is unknown."""
    normal = _normal(image)
    return "" if normal is None else AXES[int(np.argmax(np.abs(normal)))]


def spacing_mm(images: Images) -> float | None:
    """Return the median distance between the places of images along their normal; None if it cannot be told."""
    gaps = _gaps_mm(images)
    if gaps is None or not len(gaps):
        return images[0].number("SpacingBetweenSlices") or images[0].number("SliceThickness") if images else None
    return float(np.median(gaps))


def place_count(images: Images) -> int | None:
    """Return how many places single-frame images have, several phases at one place counted once; None if unknown."""
    gaps = _gaps_mm(images)
    return None if gaps is None or slice_count(images) != len(images) else len(gaps) + 1


def in_plane_mm(image: InstanceRecord) -> float | None:
    """Return the larger of the two pixel spacings; None if absent."""
    spacing = _row(image, "PixelSpacing", 2)
    return None if spacing is None else max(spacing)


def unreadable(images: Images, role: InputRole) -> str:
    """Return why the reader of pixels will refuse the places of single-frame images; '' where nothing says so.

    Of multi-frame images the index knows one frame: the reader judges them.
    """
    if slice_count(images) != len(images):
        return ""
    if len(images) == 1:
        return "" if (images[0].number("SliceThickness") or 0) > 0 else NO_VOLUME
    mixed = _mixed(images)
    if mixed:
        return "" if role.split_by else mixed
    places = _places(images)
    found = None if places is None else fault(places, role.spacing_mm)
    if found is None and not images[0].text("FrameOfReferenceUID"):
        return "FrameOfReferenceUID is absent"
    return "" if found is None else str(found)


def _mixed(images: Images) -> str:
    """Return why images are no one stack: the reader may still split them."""
    for keywords, what in ((("Rows", "Columns"), "matrix"), (("FrameOfReferenceUID",), "Frame of Reference")):
        if len({tuple(image.text(keyword) for keyword in keywords) for image in images}) > 1:
            return f"more than one {what}"
    cosines, spacings = (_table(images, keyword, count) for keyword, count in ((COSINES, 6), ("PixelSpacing", 2)))
    if cosines is None or np.abs(cosines - cosines[0]).max() > SAME_ORIENTATION_TOLERANCE:
        return "more than one orientation"
    if spacings is None:
        return "PixelSpacing is absent"
    if (np.abs(spacings - spacings[0]) > SAME_SPACING_FRACTION * spacings[0]).any():
        return "more than one PixelSpacing"
    return "several images in one place" if place_count(images) != len(images) else ""


def _places(images: Images) -> Places | None:
    normal, positions = _normal(images[0]), _table(images, "ImagePositionPatient", 3)
    if normal is None or positions is None:
        return None
    order = np.argsort(positions @ normal)
    numbers = [image.number("InstanceNumber") for image in images]
    names = slice_names((1, None if numbers[k] is None else int(numbers[k])) for k in order)
    return Places(positions_lps_mm=positions[order], normal_lps=normal, in_plane_mm=in_plane_mm(images[0]), names=names)


def _gaps_mm(images: Images) -> NDArray[np.float64] | None:
    normal, positions = _normal(images[0]) if images else None, _table(images, "ImagePositionPatient", 3)
    if normal is None or positions is None:
        return None
    gaps = np.diff(np.sort(positions @ normal))
    return np.asarray(gaps[gaps >= SAME_PLACE_MM])


def _table(images: Images, keyword: str, count: int) -> NDArray[np.float64] | None:
    """Return an attribute's numbers, (image, value); None where an image lacks them."""
    rows = [_row(image, keyword, count) for image in images]
    return None if any(row is None for row in rows) else np.array(rows, dtype=np.float64)


def _normal(image: InstanceRecord) -> NDArray[np.float64] | None:
    cosines = _row(image, COSINES, 6)
    return None if cosines is None else np.asarray(np.cross(cosines[:3], cosines[3:]), dtype=np.float64)


def _row(image: InstanceRecord, keyword: str, count: int) -> list[float] | None:
    texts = image.attributes.get(keyword, ())
    if len(texts) != count:
        return None
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if all(-FARTHEST_MM <= number <= FARTHEST_MM for number in numbers) else None
