"""One slice with the truth and what was found drawn on it, as pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from dicomnode.domain.volume import SliceStack, Volume

TRUTH_RGB: Final = (80, 220, 120)
FOUND_RGB: Final = (255, 90, 80)
BOTH_RGB: Final = (250, 215, 70)
"""Where both outlines run."""
MARGIN_MM: Final = 20.0
LEAST_MM: Final = 70.0
"""Smallest edge of what is shown: a lesion needs its surroundings."""
TOUCHING: Final = 1e-3
"""Share of a slice below which a box only touches it."""
WIDTH_PIXELS: Final = 340
HEIGHT_PIXELS: Final = 400

Mask = NDArray[np.bool_]
Boxes = NDArray[np.float64]
Cut = tuple[slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """A picture (uint8, rows, columns, RGB) and the number of its slice, from 1."""

    rgb_yx: NDArray[np.uint8]
    slice_number: int


def drawn_masks(volume: Volume, found_zyx: Mask, truth_zyx: Mask) -> Drawn | None:
    """Draw the outlines on the slice with most wrong voxels; None where both masks are empty."""
    either = found_zyx | truth_zyx
    if not either.any():
        return None
    wrong = np.count_nonzero(found_zyx ^ truth_zyx, axis=(1, 2))
    worst = int(wrong.argmax()) if wrong.any() else int(np.count_nonzero(either, axis=(1, 2)).argmax())
    (rows, columns) = ndimage.find_objects(either[worst].astype(np.uint8))[0]
    cut = _cut(volume.stack, rows.start, rows.stop, columns.start, columns.stop)
    picture, size = _grey(volume, worst, cut)
    outlines = [_outline(mask[worst][cut], size) for mask in (truth_zyx, found_zyx)]
    return _coloured(volume.stack, picture, outlines[0], outlines[1], worst)


def drawn_boxes(volume: Volume, found: Boxes, truth: Boxes) -> Drawn | None:
    """Draw boxes, (n, 6) edges z0 y0 x0 z1 y1 x1 in indices, on the slice through the worst of them.

    That is the largest true box that no found one touches, else the first found one that touches no true one, else
    the largest true box.
    """
    chosen = _chosen(found, truth)
    if chosen is None:
        return None
    depth, height, width = volume.stack.shape_zyx
    worst = int(np.clip(round((chosen[0] + chosen[3]) / 2), 0, depth - 1))
    cut = _cut(volume.stack, *(int(edge) for edge in (chosen[1], chosen[4] + 1, chosen[2], chosen[5] + 1)))
    picture, size = _grey(volume, worst, cut)
    lines = [_outline(_filled(boxes, worst, (height, width))[cut], size) for boxes in (truth, found)]
    return _coloured(volume.stack, picture, lines[0], lines[1], worst)


def _chosen(found: Boxes, truth: Boxes) -> NDArray[np.float64] | None:
    missed = [box for box in truth if not _touch(box, found)]
    false = [box for box in found if not _touch(box, truth)]
    largest = sorted(missed or ([] if false else list(truth)), key=lambda box: -float(np.prod(box[3:] - box[:3])))
    return next(iter((*largest, *false)), None)


def _touch(box: NDArray[np.float64], others: Boxes) -> bool:
    return bool(((box[:3] < others[:, 3:]) & (others[:, :3] < box[3:])).all(axis=1).any())


def _filled(boxes: Boxes, place: int, shape: tuple[int, int]) -> Mask:
    """Pixels within the boxes that the slice cuts; boxes keep a pixel at least."""
    mask = np.zeros(shape, bool)
    for box in boxes:
        if box[0] - 0.5 + TOUCHING < place < box[3] + 0.5 - TOUCHING:
            low = np.maximum(np.floor(box[1:3] + 0.5), 0).astype(int)
            high = np.maximum(np.ceil(box[4:6] + 0.5), low + 1).astype(int)
            mask[low[0]:high[0], low[1]:high[1]] = True
    return mask


def _cut(stack: SliceStack, top: int, bottom: int, left: int, right: int) -> Cut:
    row_mm, column_mm = stack.planes[0].pixel_spacing_mm
    return (_widened(top, bottom, row_mm, stack.rows), _widened(left, right, column_mm, stack.columns))


def _widened(start: int, stop: int, step_mm: float, most: int) -> slice:
    margin = max(MARGIN_MM, (LEAST_MM - (stop - start) * step_mm) / 2)
    return slice(max(0, int(start - margin / step_mm)), min(most, int(stop + margin / step_mm) + 1))


def _grey(volume: Volume, place: int, cut: Cut) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The slice in shades of grey, enlarged to its true proportions; and its width and height."""
    values = np.asarray(volume.values_zyx[place][cut], np.float32)
    low, high = np.percentile(values, [1.0, 99.5])
    shades = np.clip((values - low) / max(float(high - low), 1e-6) * 255.0, 0, 255).astype(np.uint8)
    row_mm, column_mm = volume.stack.planes[0].pixel_spacing_mm
    height_mm, width_mm = values.shape[0] * row_mm, values.shape[1] * column_mm
    scale = min(WIDTH_PIXELS / width_mm, HEIGHT_PIXELS / height_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
    return np.asarray(Image.fromarray(shades).resize(size, Image.Resampling.BICUBIC)), size


def _outline(mask: Mask, size: tuple[int, int]) -> Mask:
    large = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST), bool)
    return np.asarray(large & ~ndimage.binary_erosion(large, iterations=2, border_value=1))


def _coloured(stack: SliceStack, picture: NDArray[np.uint8], truth: Mask, found: Mask, place: int) -> Drawn:
    rgb = np.repeat(picture[..., None], 3, axis=2)
    rgb[truth], rgb[found], rgb[truth & found] = TRUTH_RGB, FOUND_RGB, BOTH_RGB
    return Drawn(rgb_yx=as_read(rgb, stack), slice_number=place + 1)


def as_read(rgb_yx: NDArray[np.uint8], stack: SliceStack) -> NDArray[np.uint8]:
    """Turn a slice as readers hang it: the patient's left on the right, the front or the head above."""
    right, down = stack.planes[0].row_lps, stack.planes[0].column_lps
    mirrored = right[np.abs(right).argmax()] < 0
    turned = (down[2] > 0) if np.abs(down).argmax() == 2 else (down[np.abs(down).argmax()] < 0)  # noqa: PLR2004 - z
    return np.ascontiguousarray(rgb_yx[::-1 if turned else 1, ::-1 if mirrored else 1])
