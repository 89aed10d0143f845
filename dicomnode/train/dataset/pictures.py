"""Pictures of a case: a slice as a radiologist sees it, with labels outlined and boxes drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from PIL import Image

from dicomnode.train.dataset.cases import Case, Dataset
from dicomnode.train.evaluate.slice_picture import TOUCHING

CT_WINDOW_HU: Final = (-1000.0, 400.0)
PERCENTILES: Final = (0.5, 99.5)
TILE_PIXELS: Final = 420
FILL_OPACITY: Final = 0.18
LPS_TO_RAS: Final = np.array((-1.0, -1.0, 1.0))

Rgb = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """A case turned to the head-first frame of its viewer: axes to the left, the back and the head.

    Parameters
    ----------
    boxes:
        Index edges, (n, 2, 3): low and high corner.
    axis:
        The axis across the slices: the one with the largest steps.
    """

    images: tuple[NDArray[np.generic], ...]
    label: NDArray[np.uint16] | None
    boxes: NDArray[np.float64]
    steps_mm: tuple[float, float, float]
    axis: int


def seen(case: Case) -> Seen:
    """Read a case for drawing."""
    files = (*case.images, *((case.label,) if case.label else ()))
    loaded = [nibabel.Nifti1Image.from_filename(path) for path in files]
    affine = np.asarray(loaded[0].affine, np.float64)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(("L", "P", "S")))  # type: ignore[no-untyped-call]
    arrays = [apply_orientation(np.asanyarray(one.dataobj), turn) for one in loaded]  # type: ignore[no-untyped-call]
    turned = affine @ nibabel.orientations.inv_ornt_aff(turn, loaded[0].shape)  # type: ignore[no-untyped-call]
    steps = np.linalg.norm(turned[:3, :3], axis=0)
    images = tuple(arrays[:len(case.images)])
    return Seen(images=images, label=arrays[-1].astype(np.uint16) if case.label else None, boxes=_boxes(case, turned),
                steps_mm=(float(steps[0]), float(steps[1]), float(steps[2])),
                axis=2 if np.ptp(steps) < 1e-3 * steps.max() else int(steps.argmax()))


def slices_of(view: Seen) -> dict[str, int]:
    """Return what to look at and the slice that shows it: most marked, the rarest label, the middle; each once."""
    count, axes = view.images[0].shape[view.axis], tuple({0, 1, 2} - {view.axis})
    found: dict[str, int] = {}
    if view.label is not None and view.label.any():
        found["most marked"] = int(np.count_nonzero(view.label, axis=axes).argmax())
        values, counts = np.unique(view.label[view.label != 0], return_counts=True)
        found["rarest label"] = int(np.count_nonzero(view.label == values[counts.argmin()], axis=axes).argmax())
    elif len(view.boxes):
        order = np.argsort(-np.prod(view.boxes[:, 1] - view.boxes[:, 0], axis=1))
        for name, number in (("largest box", order[0]), ("smallest box", order[-1])):
            place = float(view.boxes[number][:, view.axis].mean())
            found[name] = int(np.clip(round(place), 0, count - 1))
    found["middle"] = count // 2
    return {name: place for number, (name, place) in enumerate(found.items())
            if place not in list(found.values())[:number]}


def drawn(view: Seen, channel: int, place: int, dataset: Dataset, case: Case) -> Rgb:
    """Return one slice of one channel with what is marked on it, (row, column, RGB)."""
    grey = _grey(view.images[channel], place, view.axis, dataset.modality)
    size = _size(view, grey.shape)
    large = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
    picture = np.repeat(large[..., None].astype(np.float64), 3, axis=2)
    if view.label is not None:
        marks = Image.fromarray(_turned(view.label, place, view.axis).astype(np.uint16))
        values = np.asarray(marks.resize(size, Image.Resampling.NEAREST))
        for label in dataset.labels:
            _paint(picture, values == label.value, label.colour_rgb, FILL_OPACITY)
    for box, index in zip(view.boxes, case.box_labels, strict=True):
        if box[0, view.axis] - 0.5 + TOUCHING < place < box[1, view.axis] + 0.5 - TOUCHING:
            _paint(picture, _frame(box, view, size, grey.shape), dataset.labels[index].colour_rgb, 0.0)
    return np.rint(picture).astype(np.uint8)


def _boxes(case: Case, affine_ras_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    centres, sizes = case.boxes_lps_mm[:, :3] * LPS_TO_RAS, case.boxes_lps_mm[:, 3:]
    inverse = np.linalg.inv(affine_ras_mm)
    corners = np.stack([centres + sign * sizes / 2 for sign in (-1, 1)], axis=1)
    index = corners @ inverse[:3, :3].T + inverse[:3, 3]
    return np.stack([index.min(axis=1), index.max(axis=1)], axis=1)


def _turned(values: NDArray[np.generic], place: int, axis: int) -> NDArray[np.generic]:
    """Return a slice with the patient's right at the left of the picture; head or front at its top."""
    cut = np.take(values, place, axis).T
    return np.ascontiguousarray(cut if axis == 2 else cut[::-1])  # noqa: PLR2004


def _grey(values: NDArray[np.generic], place: int, axis: int, modality: str) -> NDArray[np.uint8]:
    cut = _turned(values, place, axis).astype(np.float64)
    low, high = CT_WINDOW_HU if modality == "CT" else np.percentile(cut, PERCENTILES)
    return np.asarray(np.clip((cut - low) / max(float(high - low), 1e-6) * 255, 0, 255), np.uint8)


def _size(view: Seen, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return width and height of the picture in true proportions."""
    across, down = (view.steps_mm[axis] for axis in range(3) if axis != view.axis)
    width_mm, height_mm = shape[1] * across, shape[0] * down
    scale = TILE_PIXELS / max(width_mm, height_mm)
    return max(1, round(width_mm * scale)), max(1, round(height_mm * scale))


def _paint(picture: NDArray[np.float64], mask: NDArray[np.bool_], colour: tuple[int, int, int], opacity: float) -> None:
    inner = mask.copy()
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        inner &= np.roll(mask, step, axis)
    edge = mask & ~inner
    picture[inner] = (1 - opacity) * picture[inner] + opacity * np.array(colour)
    picture[edge] = colour


def _frame(box: NDArray[np.float64], view: Seen, size: tuple[int, int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    across, down = (axis for axis in range(3) if axis != view.axis)
    (left, right), (top, bottom) = box[:, across] + 0.5, box[:, down] + 0.5
    if view.axis != 2:  # noqa: PLR2004
        top, bottom = shape[0] - bottom, shape[0] - top
    scale_x, scale_y = size[0] / shape[1], size[1] / shape[0]
    mask = np.zeros((size[1], size[0]), bool)
    rows = slice(max(0, round(top * scale_y)), max(0, round(bottom * scale_y)) + 1)
    columns = slice(max(0, round(left * scale_x)), max(0, round(right * scale_x)) + 1)
    mask[rows, columns] = True
    return mask
