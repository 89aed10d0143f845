"""GDCM's own reader, and dcmtk's decoders before it: images as an implementation that is not ours reads them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

DCMTK = {
    "1.2.840.10008.1.2.4.57": "/usr/bin/dcmdjpeg", "1.2.840.10008.1.2.4.70": "/usr/bin/dcmdjpeg",
    "1.2.840.10008.1.2.4.50": "/usr/bin/dcmdjpeg", "1.2.840.10008.1.2.4.80": "/usr/bin/dcmdjpls",
    "1.2.840.10008.1.2.4.81": "/usr/bin/dcmdjpls", "1.2.840.10008.1.2.5": "/usr/bin/dcmdrle",
}
"""Transfer syntaxes that dcmtk decodes: the node's own decoders are GDCM, CharLS, OpenJPEG and pydicom."""
SCALARS = {
    gdcm.PixelFormat.UINT8: "u1", gdcm.PixelFormat.INT8: "i1", gdcm.PixelFormat.UINT12: "u2",
    gdcm.PixelFormat.INT12: "i2", gdcm.PixelFormat.UINT16: "u2", gdcm.PixelFormat.INT16: "i2",
}


@dataclass(frozen=True)
class Outside:
    """One file: stored values (frame, row, column), slope and intercept of each, the geometry of the first."""

    stored: NDArray[np.integer]
    rescale: tuple[tuple[float, float], ...]
    origin: tuple[float, ...]
    cosines: tuple[float, ...]
    spacing_xy: tuple[float, float]


def read_outside(path: Path, scratch: Path) -> Outside:
    """Read a file; compressed ones go through dcmtk first, where it is installed and knows the transfer syntax."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(_native(path, scratch)))
    if not reader.Read():
        msg = f"GDCM cannot read {path.name}"
        raise ValueError(msg)
    image = reader.GetImage()
    raw = image.GetBuffer().encode("utf-8", "surrogateescape")
    values = np.frombuffer(raw, SCALARS[image.GetPixelFormat().GetScalarType()])
    frames = image.GetDimension(2) if image.GetNumberOfDimensions() > 2 else 1
    same = ((image.GetSlope(), image.GetIntercept()),) * frames
    return Outside(
        stored=values.reshape(frames, image.GetDimension(1), image.GetDimension(0)),
        rescale=_per_frame(path) or same, origin=tuple(image.GetOrigin(k) for k in range(3)),
        cosines=tuple(image.GetDirectionCosines(k) for k in range(6)),
        spacing_xy=(image.GetSpacing(0), image.GetSpacing(1)))


def _per_frame(path: Path) -> tuple[tuple[float, float], ...]:
    """Return each frame's own slope and intercept as pydicom finds them: GDCM gives all the first frame's."""
    groups = dcmread(path, stop_before_pixels=True).get("PerFrameFunctionalGroupsSequence", [])
    if not all("PixelValueTransformationSequence" in group for group in groups):
        return ()
    found = [group.PixelValueTransformationSequence[0] for group in groups]
    return tuple((float(one.RescaleSlope), float(one.RescaleIntercept)) for one in found)


def _native(path: Path, scratch: Path) -> Path:
    tool = DCMTK.get(str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID), "")
    if not tool or not shutil.which(tool):
        return path
    target = scratch / f"{path.name}.native"
    subprocess.run([tool, path, target], check=True, capture_output=True)
    return target
