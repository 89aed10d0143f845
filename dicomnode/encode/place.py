"""Where a finding lies on its image: the half-pixel rule lives here, and only here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.dicom import Code
from dicomnode.domain.findings import Detection, ModelFindings
from dicomnode.domain.volume import SliceStack
from dicomnode.encode.codes import SIDES
from dicomnode.encode.outlines import outlines
from dicomnode.errors import EncodingError


def scoord(indices_yx: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    r"""A voxel index names a centre; in SCOORD the centre of the first pixel is 0.5\0.5 (PS3.3 C.18.6.1.2).

    Parameters
    ----------
    indices_yx:
        Fractional voxel indices (row, column), 0 = centre of the first pixel.

    Returns
    -------
    numpy.ndarray
        Shape (n, 2): (column, row) in image-relative pixels, 0.0 to Columns and 0.0 to Rows.
    """
    return np.array([(column + 0.5, row + 0.5) for row, column in indices_yx], dtype=np.float64)


def outline(detection: Detection, findings: ModelFindings) -> NDArray[np.float64]:
    """Return how a finding is drawn on its key slice: its contour where that is wanted and it has a mask, else its box.

    Raises
    ------
    EncodingError
        If the slice or the box lies outside the image.
    """
    drawn = box(detection, findings.stack)
    parts = outlines(_mask_yx(detection, findings)) if findings.contoured else []
    if not parts:
        return drawn
    largest = max(parts, key=_area)
    return scoord([(row - 0.5, column - 0.5) for row, column in (*largest.tolist(), largest[0].tolist())])


def place_of(detection: Detection, findings: ModelFindings) -> tuple[Code | None, Code | None]:
    """Return in which structure a finding lies and on which side; no side where no structure is known."""
    place = detection.site or detection.label.region or findings.finding_site
    return place, SIDES.get(detection.side) if place else None


def _mask_yx(detection: Detection, findings: ModelFindings) -> NDArray[np.bool_]:
    layers = [layer for layer in (findings.lesion_zyx, *findings.lesion_layers) if layer is not None]
    drawn = [layer[detection.key_slice] == detection.number for layer in layers]
    return np.asarray(np.any(drawn, axis=0)) if drawn else np.zeros(findings.stack.shape_zyx[1:], dtype=bool)


def _area(corners_yx: NDArray[np.int64]) -> float:
    """Return the area of a polygon in pixels (shoelace formula)."""
    y, x = corners_yx.T.astype(np.float64)
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def box(detection: Detection, stack: SliceStack) -> NDArray[np.float64]:
    """Return the closed 5-point outline of a finding's box on its key slice, round the outer voxels' edges.

    Raises
    ------
    EncodingError
        If the slice or the box lies outside the image.
    """
    first_row, first_column, last_row, last_column = detection.box_yx
    if not (0 <= detection.key_slice < len(stack.planes) and last_row < stack.rows and last_column < stack.columns):
        msg = (f"{detection.tracking_id} in series {stack.series_uid}: slice {detection.key_slice}, box_yx = "
               f"{detection.box_yx}; the image has {len(stack.planes)} slices of {stack.rows} × {stack.columns}")
        raise EncodingError(msg)
    top, left, bottom, right = first_row - 0.5, first_column - 0.5, last_row + 0.5, last_column + 0.5
    return scoord([(top, left), (top, right), (bottom, right), (bottom, left), (top, left)])
