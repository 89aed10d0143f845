"""RT Structure Sets become masks: contours are filled on the slices that they lie on (PS3.3 C.8.8.5, C.8.8.6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicomnode.domain.volume import SliceStack
from dicomnode.errors import UnusableAnnotation
from dicomnode.read.annotations import Structure, code_of, refuse_other_frame
from dicomnode.read.onto import index_zyx

FILLED: Final = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})
"""Contour Geometric Types that enclose something; points and open lines mark no volume."""
ON_SLICE_FRACTION: Final = 0.1
ON_SLICE_MM: Final = 0.1
"""A contour lies on a slice if it is this near to its plane: a tenth of the spacing, at least a tenth of a mm."""
FEWEST_POINTS: Final = 3


def structures_of_rtstruct(dataset: Dataset, stack: SliceStack) -> Iterator[Structure]:
    """Yield each ROI that has closed contours as a mask, by number.

    A voxel belongs to a ROI if its centre is enclosed by an odd number of its contours on the slice: that gives holes
    drawn as contours of their own (XOR) and as keyholes alike. Nothing is drawn between contours.

    Raises
    ------
    UnusableAnnotation
        If the coordinates are of another frame of reference, or a contour lies on no slice.
    """
    described = {int(one.ROINumber): one for one in dataset.get("StructureSetROISequence") or ()}
    meanings = {int(one.ReferencedROINumber): one for one in dataset.get("RTROIObservationsSequence") or ()}
    rois = sorted(dataset.get("ROIContourSequence") or (), key=lambda one: int(one.ReferencedROINumber))
    for roi in rois:
        number = int(roi.ReferencedROINumber)
        closed = [one for one in roi.get("ContourSequence") or () if one.get("ContourGeometricType") in FILLED]
        if not closed:
            continue
        about = described.get(number, Dataset())
        refuse_other_frame(str(about.get("ReferencedFrameOfReferenceUID", "")), stack)
        name = str(about.get("ROIName", "")).strip()
        edges, outside = _edges_by_slice(closed, stack, name)
        mask = np.zeros(stack.shape_zyx, bool)
        for k, yx in edges.items():
            mask[k] = filled(yx, (stack.rows, stack.columns))
        yield Structure(
            number=number, name=name, mask_zyx=mask, type=code_of(meanings.get(number, Dataset()),
                                                                  "RTROIIdentificationCodeSequence"),
            colour_rgb=_colour(roi), notes=(*_gaps(edges), *outside))


def _edges_by_slice(contours: list[Dataset], stack: SliceStack, name: str
                    ) -> tuple[Mapping[int, NDArray[np.float64]], tuple[str, ...]]:
    """Return slice → edges of all its contours, shape (n, 2, 2): from and to, each (row, column)."""
    edges: dict[int, list[NDArray[np.float64]]] = {}
    outside = 0
    allowed = max(ON_SLICE_FRACTION, ON_SLICE_MM / stack.slice_spacing_mm)
    for contour in contours:
        points = np.array([float(value) for value in contour.ContourData]).reshape(-1, 3)
        if len(points) < FEWEST_POINTS:
            continue
        index = index_zyx(points, stack)
        k = round(float(index[:, 0].mean()))
        beside = float(np.abs(index[:, 0] - k).max())
        if beside > allowed:
            raise UnusableAnnotation(
                f"a contour of ROI {name!r} lies {beside * stack.slice_spacing_mm:.2f} mm beside the nearest slice: it "
                "was drawn on other images; take the structure set that belongs to this series")
        if not 0 <= k < len(stack.planes):
            outside += 1
            continue
        edges.setdefault(k, []).append(np.stack([index[:, 1:], np.roll(index[:, 1:], -1, axis=0)], axis=1))
    notes = (f"{outside} contours lie above or below the images",) if outside else ()
    return {k: np.concatenate(found) for k, found in edges.items()}, notes


def filled(edges_yx: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which voxel centres lie inside closed outlines: crossed an odd number of times from the left.

    Parameters
    ----------
    edges_yx:
        Shape (n, 2, 2): the edges of every outline of the slice, each from and to (row, column).

    Notes
    -----
    A centre exactly on an outline counts as inside on the left and top, outside on the right and bottom: two outlines
    that share an edge neither overlap nor leave a gap, and the two sides of a keyhole's channel cancel.
    """
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), np.int32)
    low, high = edges_yx[:, :, 0].min(axis=1), edges_yx[:, :, 0].max(axis=1)
    first = np.clip(np.ceil(low), 0, rows).astype(int)
    counts = np.maximum(np.clip(np.ceil(high), 0, rows).astype(int) - first, 0)
    edge = np.repeat(np.arange(len(edges_yx)), counts)
    row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    (y0, x0), (y1, x1) = edges_yx[edge, 0].T, edges_yx[edge, 1].T
    crossing = x0 + (row - y0) / (y1 - y0) * (x1 - x0)
    np.add.at(toggles, (row, np.clip(np.ceil(crossing), 0, columns).astype(int)), 1)
    return np.asarray(np.cumsum(toggles, axis=1)[:, :columns] % 2 == 1)


def _gaps(edges: Mapping[int, object]) -> tuple[str, ...]:
    """Say where slices between two contours have none: some programs draw every second slice and interpolate."""
    drawn = sorted(edges)
    between = sum(after - before - 1 for before, after in pairwise(drawn))
    return (f"{between} slices between its contours have none: they stay empty",) if between else ()


def _colour(roi: Dataset) -> tuple[int, int, int] | None:
    colour = roi.get("ROIDisplayColor")
    if colour is None or len(colour) != 3:  # noqa: PLR2004
        return None
    red, green, blue = (min(255, max(0, int(value))) for value in colour)
    return red, green, blue
