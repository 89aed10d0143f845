"""The contact sheet: what the network will be shown, and which steps made it so."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from dicomnode.train.fit.tasks import Prepared, Sample, Stage, TrainingTask

TILE: Final = 200
"""Edge of one picture, in pixels."""
COLUMNS: Final = 6
SAMPLES: Final = 12
LINE: Final = 15
"""Height of a line of text, in pixels."""
SHEET_STREAM: Final = 3


def contact_sheet(
    task: TrainingTask, cases: Sequence[Prepared], stage: Stage, steps: Sequence[str],
    colours: Sequence[tuple[int, int, int]], seed: int,
) -> Image.Image:
    """Pictures of augmented samples as the first stage draws them, truth outlined, random steps named below.

    Parameters
    ----------
    colours : by label value less 1.
    """
    tiles = []
    for number in range(SAMPLES):
        prepared = cases[number % len(cases)]
        sample = task.draw(prepared, stage, np.random.default_rng((seed, SHEET_STREAM, number)))
        tiles.append((prepared.case.id, picture(sample, colours)))
    lines = [line for text in steps for line in textwrap.wrap(text, 150, subsequent_indent="      ")] or ["none"]
    rows = -(-len(tiles) // COLUMNS)
    height = rows * (TILE + LINE) + LINE * (len(lines) + 2)
    sheet = Image.new("RGB", (COLUMNS * TILE, height), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (name, tile) in enumerate(tiles):
        row, column = divmod(number, COLUMNS)
        sheet.paste(tile, (column * TILE, row * (TILE + LINE)))
        pen.text((column * TILE + 4, row * (TILE + LINE) + TILE + 1), name, fill="black")
    top = rows * (TILE + LINE) + LINE // 2
    for number, line in enumerate(("random steps, in their order:", *lines)):
        pen.text((6, top + number * LINE), line, fill="black")
    return sheet


def picture(sample: Sample, colours: Sequence[tuple[int, int, int]]) -> Image.Image:
    """The slice of a sample that shows most truth: front up, the patient's left on the right, channels side by side."""
    image_cxyz = np.asarray(sample["image"], np.float32)
    label_xyz = np.asarray(sample["label"])[0] if "label" in sample else None
    boxes = np.asarray(sample["box"], np.float32) if "box" in sample else np.zeros((0, 6), np.float32)
    z = _telling_slice(image_cxyz.shape[3], label_xyz, boxes)
    return _tile(image_cxyz[..., z], None if label_xyz is None else label_xyz[..., z],
                 boxes[(boxes[:, 2] <= z + 0.5) & (boxes[:, 5] >= z + 0.5)], colours)


def _telling_slice(depth: int, label_xyz: NDArray[np.uint8] | None, boxes: NDArray[np.float32]) -> int:
    if label_xyz is not None and label_xyz.any():
        highest = int(label_xyz.max())
        return int((label_xyz == highest).sum(axis=(0, 1)).argmax())
    if len(boxes):
        return min(depth - 1, max(0, int((boxes[0, 2] + boxes[0, 5]) / 2)))
    return depth // 2


def _tile(
    image_cxy: NDArray[np.float32], label_xy: NDArray[np.uint8] | None, boxes: NDArray[np.float32],
    colours: Sequence[tuple[int, int, int]],
) -> Image.Image:
    channels, width, height = image_cxy.shape
    columns = int(np.ceil(np.sqrt(channels)))
    edge = TILE // columns
    tile = Image.new("RGB", (TILE, TILE))
    scale = edge / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    for number, values in enumerate(image_cxy):
        low, high = float(values.min()), float(values.max())
        grey = ((values - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
        turned = Image.fromarray(np.ascontiguousarray(grey.T[::-1, ::-1]))
        one = turned.resize(size, Image.Resampling.BILINEAR).convert("RGB")
        _outline(one, label_xy, colours)
        pen = ImageDraw.Draw(one)
        for x0, y0, _, x1, y1, _ in boxes:
            corners = ((width - x1) * scale, (height - y1) * scale, (width - x0) * scale, (height - y0) * scale)
            pen.rectangle(corners, outline=colours[0])
        tile.paste(one, (number % columns * edge, number // columns * edge))
    return tile


def _outline(tile: Image.Image, label_xy: NDArray[np.uint8] | None, colours: Sequence[tuple[int, int, int]]) -> None:
    if label_xy is None:
        return
    turned = Image.fromarray(np.ascontiguousarray(label_xy.T[::-1, ::-1]))
    large = np.asarray(turned.resize(tile.size, Image.Resampling.NEAREST))
    pixels = np.array(tile)
    edge = np.zeros(large.shape, bool)
    edge[:, 1:] |= large[:, 1:] != large[:, :-1]
    edge[1:] |= large[1:] != large[:-1]
    for value, colour in enumerate(colours, start=1):
        near = (large == value) | (np.roll(large, 1, 0) == value) | (np.roll(large, 1, 1) == value)
        pixels[edge & near] = colour
    tile.paste(Image.fromarray(pixels))
