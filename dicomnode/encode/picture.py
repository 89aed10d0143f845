"""A page of key slices with outlines and a table: what a viewer shows that draws neither SEG nor SR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicomnode.domain.findings import ModelFindings, marked
from dicomnode.domain.volume import Volume

TILE_PIXELS: Final = 384
COLUMNS: Final = 3
MOST_TILES: Final = 6
LINE_PIXELS: Final = 26
TEXT_PIXELS: Final = 18
CT_WINDOW_HU: Final = (-1000.0, 400.0)
"""One window that shows lung and soft tissue alike; the original images are there for more."""
OTHER_WINDOW_PERCENTILES: Final = (1.0, 99.5)
BACKGROUND: Final = (12, 14, 18)
WARNING_RGB: Final = (255, 196, 0)
TEXT_RGB: Final = (232, 234, 237)
Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """One key slice: grey values and outlines, in the slice's own rows and columns."""

    volume: Volume
    index: int
    marks: tuple[tuple[NDArray[np.bool_], Rgb], ...]
    caption: str


def tiles_of(findings: ModelFindings, volume: Volume) -> list[Tile]:
    """Return the key slices: those of the lesions first, then of the structures the fullest and two on either side.

    Of a classification, which has no place, the middle one.
    """
    slices = [found.key_slice for found in findings.detections]
    if findings.segmentation is not None:
        counts = np.array([np.count_nonzero(plane) for plane in findings.segmentation.mask_zyx])
        if counts.any():
            marked = np.flatnonzero(counts)
            spread = (marked[len(marked) // 4], marked[len(marked) * 3 // 4])
            slices += [int(np.argmax(counts)), *map(int, spread)]
    if findings.classifications and not slices:
        slices = [len(findings.stack.planes) // 2]
    return [_tile(findings, volume, index) for index in dict.fromkeys(slices)]


def draw(tiles: Sequence[Tile], heading: Sequence[str], lines: Sequence[tuple[str, Rgb]]) -> NDArray[np.uint8]:
    """Return the page, shape (rows, columns, 3): heading, tiles in rows of three, then one line per number.

    Parameters
    ----------
    heading:
        First the warning, then what made the page; nothing about the patient.
    """
    rows = -(-len(tiles) // COLUMNS)
    top = LINE_PIXELS * len(heading) + 16
    bottom = top + rows * (TILE_PIXELS + LINE_PIXELS)
    page = Image.new("RGB", (COLUMNS * TILE_PIXELS, bottom + LINE_PIXELS * len(lines) + 16), BACKGROUND)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(TEXT_PIXELS)
    for number, text in enumerate(heading):
        pen.text((12, 8 + number * LINE_PIXELS), text, fill=TEXT_RGB if number else WARNING_RGB, font=font)
    for number, tile in enumerate(tiles):
        left, upper = number % COLUMNS * TILE_PIXELS, top + number // COLUMNS * (TILE_PIXELS + LINE_PIXELS)
        picture = _picture(tile)
        page.paste(picture, (left + (TILE_PIXELS - picture.width) // 2, upper + (TILE_PIXELS - picture.height) // 2))
        pen.text((left + 12, upper + TILE_PIXELS), tile.caption, fill=TEXT_RGB, font=font)
    for number, (text, colour) in enumerate(lines):
        pen.rectangle((12, bottom + 12 + number * LINE_PIXELS, 28, bottom + 26 + number * LINE_PIXELS), fill=colour)
        pen.text((40, bottom + 8 + number * LINE_PIXELS), text, fill=TEXT_RGB, font=font)
    return np.asarray(page)


def _tile(findings: ModelFindings, volume: Volume, index: int) -> Tile:
    marks: list[tuple[NDArray[np.bool_], Rgb]] = []
    if findings.segmentation is not None:
        plane = findings.segmentation.mask_zyx[index]
        marks = [(marked(plane, label.value, overlapping=findings.segmentation.overlapping), label.colour_rgb)
                 for label in findings.segmentation.labels]
    for found in findings.detections:
        if found.key_slice == index and findings.lesion_zyx is None:
            marks.append((_filled(plane_shape=volume.stack.shape_zyx[1:], box=found.box_yx), found.label.colour_rgb))
    caption = f"slice {index + 1} of {len(volume.stack.planes)}"
    return Tile(volume=volume, index=index, marks=tuple(marks), caption=caption)


def _filled(plane_shape: tuple[int, int], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    inside = np.zeros(plane_shape, dtype=bool)
    inside[box[0]:box[2] + 1, box[1]:box[3] + 1] = True
    return inside


def _picture(tile: Tile) -> Image.Image:
    """Return the slice at its true proportions, as large as a tile, each mark as an outline."""
    rows_mm, columns_mm = tile.volume.stack.planes[0].pixel_spacing_mm
    height_mm, width_mm = tile.volume.stack.rows * rows_mm, tile.volume.stack.columns * columns_mm
    scale = TILE_PIXELS / max(height_mm, width_mm)
    size = max(1, round(width_mm * scale)), max(1, round(height_mm * scale))
    grey = Image.fromarray(_windowed(tile)).resize(size, Image.Resampling.BILINEAR)
    coloured = np.array(grey.convert("RGB"))
    for mask, colour in tile.marks:
        if mask.any():
            drawn = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)) > 0
            coloured[_outline(drawn)] = colour
    return Image.fromarray(coloured)


def _windowed(tile: Tile) -> NDArray[np.uint8]:
    values = tile.volume.values_zyx[tile.index].astype(np.float32)
    low, high = CT_WINDOW_HU if tile.volume.modality == "CT" else np.percentile(values, OTHER_WINDOW_PERCENTILES)
    shown = (values - low) / max(float(high - low), 1e-6) * 255
    return np.asarray(np.clip(shown, 0, 255), dtype=np.uint8)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask's voxels that touch its outside, edges of the picture included."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
