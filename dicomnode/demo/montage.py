"""One picture of the result: segments and findings over the images they lie on, drawn from the DICOM objects alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset, dcmread

from dicomnode.demo.results import Group

TILES: Final = 12
TILES_PER_ROW: Final = 4
TILE_PIXELS: Final = 320
MARGIN: Final = 6
HEADER: Final = 64
FILL_OPACITY: Final = 0.28
EDGE_OPACITY: Final = 0.95
LUNG_WINDOW_HU: Final = (-1150.0, 350.0)
BOX_RGB: Final = (255, 235, 90)
WARNING: Final = "DEMONSTRATION - NOT VERIFIED - NOT FOR CLINICAL USE"

Rgb = NDArray[np.float64]


def write_montage(seg: hd.seg.Segmentation, images: Sequence[Path], out: Path, *, title: str,
                  groups: Sequence[Group] = ()) -> Path:
    """Draw up to ``TILES`` slices with every segment in its own colour and each finding's box; return ``out``."""
    boxes: dict[str, list[Group]] = {}
    for group in groups:
        if group.outline is not None:
            boxes.setdefault(group.outline.image_uid, []).append(group)
    masks = _masks(seg)
    by_uid = _images_of({*masks, *boxes}, images)
    chosen = _choose(masks, boxes, by_uid)
    rows = -(-len(chosen) // TILES_PER_ROW)
    width = TILES_PER_ROW * (TILE_PIXELS + MARGIN) + MARGIN
    canvas = Image.new("RGB", (width, HEADER + rows * (TILE_PIXELS + MARGIN) + MARGIN), (18, 20, 24))
    _header(canvas, seg, title)
    for index, uid in enumerate(chosen):
        tile = _tile(by_uid[uid], masks.get(uid, {}), seg)
        _draw_boxes(tile, by_uid[uid], boxes.get(uid, ()))
        row, column = divmod(index, TILES_PER_ROW)
        canvas.paste(tile, (MARGIN + column * (TILE_PIXELS + MARGIN), HEADER + row * (TILE_PIXELS + MARGIN)))
    canvas.save(out)
    return out


def _images_of(wanted: AbstractSet[str], images: Sequence[Path]) -> dict[str, Dataset]:
    found: dict[str, Dataset] = {}
    for path in images:
        header = dcmread(path, specific_tags=["SOPInstanceUID"], force=True)
        if str(header.get("SOPInstanceUID", "")) in wanted:
            image = dcmread(path)
            found[str(image.SOPInstanceUID)] = image
    return found


def _masks(seg: hd.seg.Segmentation) -> dict[str, dict[int, NDArray[np.bool_]]]:
    """Map each source image to its segments' masks, by the references that the SEG's frames carry."""
    masks: dict[str, dict[int, NDArray[np.bool_]]] = {}
    pixels = np.atleast_3d(seg.pixel_array) if seg.NumberOfFrames > 1 else seg.pixel_array[None]
    for frame, groups in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        masks.setdefault(str(source), {})[number] = frame > 0
    return masks


def _choose(masks: Mapping[str, Mapping[int, NDArray[np.bool_]]], boxes: Mapping[str, object],
            images: Mapping[str, Dataset]) -> list[str]:
    """Choose the key slice of every finding and small segment, then slices spread over the rest, feet to head."""
    ordered = sorted(images, key=lambda uid: float(images[uid].ImagePositionPatient[2]))
    best: dict[int, tuple[int, str]] = {}
    for uid in ordered:
        for number, mask in masks.get(uid, {}).items():
            best[number] = max(best.get(number, (0, uid)), (int(mask.sum()), uid))
    keys = [uid for uid in boxes if uid in images]
    keys += [uid for number, (_, uid) in sorted(best.items()) if number > 1]
    spread = [ordered[round(i)] for i in np.linspace(0.06 * len(ordered), 0.94 * len(ordered) - 1, TILES)]
    chosen = list(dict.fromkeys([*list(dict.fromkeys(keys))[: TILES // 2], *spread]))[:TILES]
    return sorted(chosen, key=ordered.index)


def _tile(image: Dataset, masks: Mapping[int, NDArray[np.bool_]], seg: hd.seg.Segmentation) -> Image.Image:
    grey = _window(image)
    picture = np.repeat(grey[..., None], 3, axis=2)
    for number, mask in sorted(masks.items()):
        colour = _colour(seg, number)
        edge = mask & ~_eroded(mask)
        picture[mask] = (1 - FILL_OPACITY) * picture[mask] + FILL_OPACITY * colour
        picture[edge] = (1 - EDGE_OPACITY) * picture[edge] + EDGE_OPACITY * colour
    aspect = float(image.PixelSpacing[0]) / float(image.PixelSpacing[1])
    tile = Image.fromarray(picture.astype(np.uint8)).resize(
        (TILE_PIXELS, round(TILE_PIXELS * aspect)), Image.Resampling.LANCZOS
    )
    framed = Image.new("RGB", (TILE_PIXELS, TILE_PIXELS))
    framed.paste(tile, (0, (TILE_PIXELS - tile.height) // 2))
    pen = ImageDraw.Draw(framed)
    pen.text((6, 4), f"z {float(image.ImagePositionPatient[2]):.1f} mm", fill=(230, 230, 230), font=_font(13))
    pen.text((6, TILE_PIXELS // 2), "R", fill=(230, 230, 120), font=_font(13))
    pen.text((TILE_PIXELS - 16, TILE_PIXELS // 2), "L", fill=(230, 230, 120), font=_font(13))
    return framed


def _draw_boxes(tile: Image.Image, image: Dataset, groups: Sequence[Group]) -> None:
    """Frame each finding of a slice, a little wider than it is, with its name and its probability."""
    pen = ImageDraw.Draw(tile)
    across = TILE_PIXELS / int(image.Columns)
    down = across * float(image.PixelSpacing[0]) / float(image.PixelSpacing[1])
    top = (TILE_PIXELS - round(TILE_PIXELS * float(image.PixelSpacing[0]) / float(image.PixelSpacing[1]))) // 2
    for group in groups:
        points = [(x * across, y * down + top) for x, y in (group.outline.points if group.outline else ())]
        (left, right), (upper, lower) = ((min(axis) - 2, max(axis) + 2) for axis in zip(*points, strict=True))
        pen.rectangle((left, upper, right, lower), outline=BOX_RGB)
        chance = group.numbers.get("Probability", "")
        pen.text((left, lower + 2), f"{group.name}: {chance}" if chance else group.name, fill=BOX_RGB, font=_font(11))


def _window(image: Dataset) -> NDArray[np.float64]:
    values = image.pixel_array * float(image.get("RescaleSlope", 1)) + float(image.get("RescaleIntercept", 0))
    low, high = LUNG_WINDOW_HU if image.Modality == "CT" else np.percentile(values, (1, 99))
    grey: NDArray[np.float64] = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255
    return grey


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner = mask.copy()
    for axis in (0, 1):
        for step in (1, -1):
            inner &= np.roll(mask, step, axis)
    return inner


def _colour(seg: hd.seg.Segmentation, number: int) -> Rgb:
    lab = seg.SegmentSequence[number - 1].get("RecommendedDisplayCIELabValue")
    rgb = hd.color.CIELabColor.from_dicom_value(lab).to_rgb() if lab else (255, 80, 80)
    return np.array(rgb, dtype=np.float64)


def _header(canvas: Image.Image, seg: hd.seg.Segmentation, title: str) -> None:
    pen = ImageDraw.Draw(canvas)
    pen.text((MARGIN, 6), title, fill=(235, 235, 235), font=_font(18))
    pen.text((MARGIN, 34), WARNING, fill=(255, 170, 60), font=_font(14))
    x = canvas.width - MARGIN
    for segment in reversed(seg.SegmentSequence[:8]):
        label = str(segment.SegmentLabel)
        x -= int(pen.textlength(label, font=_font(14))) + 28
        pen.rectangle((x, 38, x + 12, 50), fill=tuple(int(v) for v in _colour(seg, int(segment.SegmentNumber))))
        pen.text((x + 17, 35), label, fill=(235, 235, 235), font=_font(14))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
