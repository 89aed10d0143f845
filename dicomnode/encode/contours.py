"""Contours as bytes, in Implicit VR Little Endian: a data set per contour is most of what a structure set costs."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicomnode.domain.volume import SlicePlane, Vector

ROI_CONTOUR_SEQUENCE: Final = 0x30060039
ROI_DISPLAY_COLOR: Final = 0x3006002A
CONTOUR_SEQUENCE: Final = 0x30060040
CONTOUR_IMAGE_SEQUENCE: Final = 0x30060016
CONTOUR_GEOMETRIC_TYPE: Final = 0x30060042
NUMBER_OF_CONTOUR_POINTS: Final = 0x30060046
CONTOUR_NUMBER: Final = 0x30060048
CONTOUR_DATA: Final = 0x30060050
REFERENCED_ROI_NUMBER: Final = 0x30060084
ITEM: Final = 0xFFFEE000
DECIMALS: Final = 4
"""Coordinates are written to a ten-thousandth of a millimetre."""
PIXEL_EDGE: Final = 0.5
"""A pixel's index names its centre: its outline runs half a pixel round it."""


def roi_contours(rois: Sequence[bytes]) -> bytes:
    """Return the element ROI Contour Sequence of encoded items."""
    return _element(ROI_CONTOUR_SEQUENCE, b"".join(rois))


def roi(number: int, colour_rgb: tuple[int, int, int], contours: Sequence[bytes]) -> bytes:
    """Return one item of it: the contours of one ROI, each as ``contour`` gives it."""
    return _item(b"".join((
        _text(ROI_DISPLAY_COLOR, "\\".join(map(str, colour_rgb))), _element(CONTOUR_SEQUENCE, b"".join(contours)),
        _text(REFERENCED_ROI_NUMBER, str(number)))))


def contour(number: int, corners_yx: NDArray[np.int64], plane: SlicePlane, image: bytes) -> bytes:
    """Return one closed contour.

    Parameters
    ----------
    corners_yx:
        As ``outlines`` gives them: shape (n, 2), rows and columns from the image's top left corner.
    image:
        The encoded reference to the image in whose plane it lies.
    """
    return _item(b"".join((
        _element(CONTOUR_IMAGE_SEQUENCE, _item(image)), _text(CONTOUR_GEOMETRIC_TYPE, "CLOSED_PLANAR"),
        _text(NUMBER_OF_CONTOUR_POINTS, str(len(corners_yx))), _text(CONTOUR_NUMBER, str(number)),
        _text(CONTOUR_DATA, _decimals(_in_patient(corners_yx - PIXEL_EDGE, plane))))))


def encoded(dataset: Dataset) -> bytes:
    """Return a data set's elements in Implicit VR Little Endian, texts in UTF-8 as all results have them."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_dataset(buffer, dataset, parent_encoding="utf8")
    return buffer.getvalue()


def _in_patient(index_yx: NDArray[np.floating], plane: SlicePlane) -> Vector:
    """Return places in patient millimetres (LPS), shape (n, 3), of indices (row, column) on a plane."""
    row_mm, column_mm = plane.pixel_spacing_mm
    return np.asarray(plane.position_lps_mm + index_yx[:, :1] * row_mm * plane.column_lps
                      + index_yx[:, 1:] * column_mm * plane.row_lps)


def _decimals(values: Vector) -> str:
    r"""Return numbers as decimal strings joined by ``\``; each different one is turned into text once."""
    different, which = np.unique(np.round(values.ravel(), DECIMALS) + 0.0, return_inverse=True)
    texts = [f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".") for value in different.tolist()]
    return "\\".join([texts[index] for index in which.ravel().tolist()])


def _text(tag: int, text: str) -> bytes:
    return _element(tag, text.encode("ascii") + b" " * (len(text) % 2))


def _item(value: bytes) -> bytes:
    return _element(ITEM, value)


def _element(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
