"""A page of key slices with outlines and tables: what a viewer shows that draws neither SEG nor SR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicomnode.domain.findings import Detection, ModelFindings, marked
from dicomnode.domain.volume import Vector, Volume
from dicomnode.encode.lettering import SMALL_PIXELS, TEXT_PIXELS, WARNING_PIXELS, columns, font, latin, wide, wrapped

TILE_PIXELS: Final = 384
COLUMNS: Final = 3
WIDTH: Final = TILE_PIXELS * COLUMNS
MOST_TILES: Final = 6
MARGIN: Final = 12
LINE_PIXELS: Final = 26
GAP_PIXELS: Final = 28
SWATCH: Final = 16
LESION_STEPS: Final = 1
"""By how much a lesion's outline is thickened outwards, in pixels of the page."""
CT_WINDOW_HU: Final = (-1000.0, 400.0)
"""One window that shows lung and soft tissue alike; the original images are there for more."""
OTHER_WINDOW_PERCENTILES: Final = (1.0, 99.5)
BACKGROUND: Final = (12, 14, 18)
WARNING_RGB: Final = (255, 196, 0)
TEXT_RGB: Final = (232, 234, 237)
QUIET_RGB: Final = (150, 154, 160)
SHORT_WARNING: Final = "AI - NOT VERIFIED"
Rgb = tuple[int, int, int]
Mark = tuple[NDArray[np.bool_], Rgb, str]
"""Which pixels of the slice, in which colour, and the name beside them; '' for what needs none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """One key slice: grey values and outlines, in the slice's own rows and columns."""

    volume: Volume
    index: int
    marks: tuple[Mark, ...]
    caption: str

    @property
    def shows_finding(self) -> bool:
        """Whether a lesion is marked on it."""
        return any(name for _, _, name in self.marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells below a head; each row has the colour of what it tells of, None where it is of nothing drawn."""

    head: tuple[str, ...]
    rows: tuple[tuple[Rgb | None, tuple[str, ...]], ...]


def tiles_of(findings: ModelFindings, volume: Volume, names: Sequence[str] = ()) -> list[Tile]:
    """Return the key slices: those of the lesions first, then of the structures the fullest and two on either side.

    Of a classification, which has no place, the middle one.

    Parameters
    ----------
    names:
        What viewers call each slice of the stack; where there are none, slices are counted along the normal.
    """
    slices = [found.key_slice for found in findings.detections]
    if findings.segmentation is not None:
        counts = np.array([np.count_nonzero(plane) for plane in findings.segmentation.mask_zyx])
        if counts.any():
            drawn = np.flatnonzero(counts)
            spread = (drawn[len(drawn) // 4], drawn[len(drawn) * 3 // 4])
            slices += [int(np.argmax(counts)), *map(int, spread)]
    if findings.classifications and not slices:
        slices = [len(findings.stack.planes) // 2]
    count = len(volume.stack.planes)
    called = names or [f"slice {number} of {count}" for number in range(1, count + 1)]
    return [_tile(findings, volume, index, called[index]) for index in dict.fromkeys(slices)]


def draw(tiles: Sequence[Tile], heading: Sequence[str], tables: Sequence[Table], notes: Sequence[str] = ()
         ) -> NDArray[np.uint8]:
    """Return the page, shape (rows, columns, 3): heading, tiles in rows of three, tables, notes.

    Parameters
    ----------
    heading:
        First the warning, then what made the page; nothing about the patient.
    """
    warning, *made_by = (latin(text) for text in heading)
    below = [line for text in made_by for line in wrapped(text, WIDTH - 2 * MARGIN)]
    remarks = [line for text in notes for line in wrapped(latin(text), WIDTH - 2 * MARGIN)]
    top = MARGIN + WARNING_PIXELS + 10 + LINE_PIXELS * len(below) + MARGIN
    bottom = top + -(-len(tiles) // COLUMNS) * (TILE_PIXELS + LINE_PIXELS)
    lines = sum(len(table.rows) + 1 for table in tables) + len(remarks)
    page = Image.new("RGB", (WIDTH, bottom + LINE_PIXELS * lines + MARGIN * (2 + len(tables))), BACKGROUND)
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, MARGIN), warning, fill=WARNING_RGB, font=font(WARNING_PIXELS))
    _lines(pen, below, MARGIN + WARNING_PIXELS + 10, TEXT_RGB)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, COLUMNS)
        _paste(page, pen, tile, (column * TILE_PIXELS, top + row * (TILE_PIXELS + LINE_PIXELS)))
    under = bottom + MARGIN
    for table in tables:
        under = _table(pen, table, under) + MARGIN
    _lines(pen, remarks, under, QUIET_RGB)
    return np.asarray(page)


def _lines(pen: ImageDraw.ImageDraw, lines: Sequence[str], top: int, colour: Rgb) -> None:
    for number, text in enumerate(lines):
        pen.text((MARGIN, top + number * LINE_PIXELS), text, fill=colour, font=font(TEXT_PIXELS))


def _paste(page: Image.Image, pen: ImageDraw.ImageDraw, tile: Tile, corner: tuple[int, int]) -> None:
    left, upper = corner
    picture = _picture(tile)
    page.paste(picture, (left + (TILE_PIXELS - picture.width) // 2, upper + (TILE_PIXELS - picture.height) // 2))
    pen.text((left + MARGIN, upper + TILE_PIXELS + 2), tile.caption, fill=TEXT_RGB, font=font(TEXT_PIXELS))
    right = left + TILE_PIXELS - MARGIN - wide(SHORT_WARNING, SMALL_PIXELS)
    pen.text((right, upper + TILE_PIXELS + 5), SHORT_WARNING, fill=WARNING_RGB, font=font(SMALL_PIXELS))


def _table(pen: ImageDraw.ImageDraw, table: Table, top: int) -> int:
    """Draw a table; return where it ends."""
    head = [latin(cell) for cell in table.head]
    rows = [(colour, [latin(cell) for cell in cells]) for colour, cells in table.rows]
    starts = columns([head, *(cells for _, cells in rows)], GAP_PIXELS)
    for number, (colour, cells) in enumerate([(None, head), *rows]):
        y = top + number * LINE_PIXELS
        if colour is not None:
            pen.rectangle((MARGIN, y + 3, MARGIN + SWATCH, y + 3 + SWATCH), fill=colour)
        for start, cell in zip(starts, cells, strict=False):
            pen.text((MARGIN + SWATCH + MARGIN + start, y), cell, fill=TEXT_RGB if number else QUIET_RGB,
                     font=font(TEXT_PIXELS))
    return top + (len(rows) + 1) * LINE_PIXELS


def _tile(findings: ModelFindings, volume: Volume, index: int, caption: str) -> Tile:
    shape = volume.stack.shape_zyx[1:]
    lesions: list[Mark] = [
        (_drawn(findings, found, shape), found.label.colour_rgb, found.tracking_id.rpartition(" ")[2])
        for found in findings.detections if found.key_slice == index]
    structures: list[Mark] = []
    if findings.segmentation is not None:
        plane, overlapping = findings.segmentation.mask_zyx[index], findings.segmentation.overlapping
        named = np.any([np.zeros(shape, dtype=bool), *(mask for mask, _, _ in lesions)], axis=0)
        structures = [(marked(plane, label.value, overlapping=overlapping) & ~(named & label.lesion),
                       label.colour_rgb, "") for label in findings.segmentation.labels]
    return Tile(volume=volume, index=index, marks=(*structures, *lesions), caption=caption)


def _drawn(findings: ModelFindings, found: Detection, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a lesion's pixels on its key slice: of its mask, or where it has none of its box."""
    if findings.lesion_zyx is not None:
        layers = (findings.lesion_zyx, *findings.lesion_layers)
        return np.asarray(np.any([layer[found.key_slice] == found.number for layer in layers], axis=0))
    inside = np.zeros(shape, dtype=bool)
    top, left, bottom, right = found.box_yx
    inside[top:bottom + 1, left:right + 1] = True
    return inside


def _picture(tile: Tile) -> Image.Image:
    """Return the slice at its true proportions, as large as a tile, each mark as an outline, lesions with their number.

    Letters at its left and upper edge say which side of the patient lies there: series are not all stored alike. A
    lesion's outline lies outside it, so that what it surrounds can be seen.
    """
    rows_mm, columns_mm = tile.volume.stack.planes[0].pixel_spacing_mm
    height_mm, width_mm = tile.volume.stack.rows * rows_mm, tile.volume.stack.columns * columns_mm
    scale = TILE_PIXELS / max(height_mm, width_mm)
    size = max(1, round(width_mm * scale)), max(1, round(height_mm * scale))
    grey = Image.fromarray(_windowed(tile)).resize(size, Image.Resampling.BILINEAR)
    coloured = np.array(grey.convert("RGB"))
    names: list[tuple[tuple[int, int], Rgb, str]] = []
    for mask, colour, name in tile.marks:
        if not mask.any():
            continue
        drawn = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)) > 0
        coloured[_grown(drawn) & ~drawn if name else _outline(drawn)] = colour
        if name and drawn.any():
            names.append((_beside(drawn), colour, name))
    picture = Image.fromarray(coloured)
    pen = ImageDraw.Draw(picture)
    for place, colour, name in names:
        pen.text(place, name, fill=colour, font=font(TEXT_PIXELS), stroke_width=2, stroke_fill=BACKGROUND)
    plane, (wide_px, high_px) = tile.volume.stack.planes[tile.index], size
    for place, towards in (((4, high_px // 2 - SMALL_PIXELS), -plane.row_lps), ((wide_px // 2, 2), -plane.column_lps)):
        pen.text(place, _direction(towards), fill=TEXT_RGB, font=font(SMALL_PIXELS), stroke_width=2,
                 stroke_fill=BACKGROUND)
    return picture


def _direction(towards_lps: Vector) -> str:
    """Return the letter of the side of the patient that a direction points to most (PS3.3 C.7.6.1.1.1)."""
    axis = int(np.abs(towards_lps).argmax())
    return ("LR", "PA", "HF")[axis][int(towards_lps[axis] < 0)]


def _beside(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Return where a name is written: right of what is marked, above its middle; left of it near the right edge."""
    rows, across = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    right = int(across[-1]) + 6
    return right if right + TEXT_PIXELS < mask.shape[1] else int(across[0]) - TEXT_PIXELS, max(0, int(rows[0]) - 8)


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


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask and what lies within two pixels of it."""
    for _ in range(LESION_STEPS + 1):
        padded = np.pad(mask, 1)
        mask = mask | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return mask
