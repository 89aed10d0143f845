"""Masks in NIfTI and NRRD files become structures on the images, if they share their grid."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError, ImageDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from dicomnode.domain.dicom import Code
from dicomnode.domain.volume import SliceStack
from dicomnode.errors import UnusableAnnotation
from dicomnode.read.annotations import Structure
from dicomnode.read.nrrd import Nrrd, read_nrrd
from dicomnode.read.onto import laid, place

NIFTI_SUFFIXES: Final = (".nii", ".nii.gz")
NRRD_SUFFIXES: Final = (".nrrd", ".nhdr")
MASK_SUFFIXES: Final = (*NIFTI_SUFFIXES, *NRRD_SUFFIXES)
NIFTI_ERRORS: Final = (
    ImageFileError, HeaderDataError, HeaderTypeError, ImageDataError, WrapStructError, OSError, EOFError, zlib.error,
    ValueError, TypeError, ArithmeticError, MemoryError,
)
"""Everything nibabel raises on damaged bytes; found on malformed files, not guessed."""
RAS_TO_LPS: Final = np.diag((-1.0, -1.0, 1.0, 1.0))
LARGEST_VALUE: Final = 65535
SPACE_AXES: Final = 3
SEGMENT_FIELD: Final = re.compile(r"(Segment\d+)_(\w+)")
TERM: Final = re.compile(r"TerminologyEntry:([^|]*)")
CODE_PARTS: Final = 3


def structures_of_mask(path: Path, stack: SliceStack) -> Iterator[Structure]:
    """Yield each value of a mask file, lowest first; 3D Slicer's segmentations with their names and codes.

    Axes may be swapped and reversed against the images', and a part of them is enough; nothing is resampled.

    Raises
    ------
    UnusableAnnotation
        If the file is damaged, holds no whole numbers, or its voxels are not those of the images.
    """
    if path.name.lower().endswith(NRRD_SUFFIXES):
        yield from _of_nrrd(read_nrrd(path), stack)
        return
    values, affine = _nifti(path)
    yield from _of_values(values, affine, stack)


def is_mask_file(path: Path) -> bool:
    """Whether a file's name is that of a NIfTI or NRRD file."""
    return path.name.lower().endswith(MASK_SUFFIXES)


def _nifti(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    try:
        image = nibabel.Nifti1Image.from_filename(path)
        values = np.asanyarray(image.dataobj)
    except NIFTI_ERRORS as error:
        raise UnusableAnnotation(f"no readable NIfTI file ({type(error).__name__})") from error
    if not (int(image.header["sform_code"]) or int(image.header["qform_code"])):
        raise UnusableAnnotation("NIfTI without sform and qform: it does not say where it lies in the patient")
    while values.ndim > SPACE_AXES and values.shape[-1] == 1:
        values = values[..., 0]
    return values, RAS_TO_LPS @ np.asarray(image.affine, np.float64)


def _of_values(values: NDArray[np.generic], affine_lps_mm: NDArray[np.float64], stack: SliceStack
               ) -> Iterator[Structure]:
    whole = _whole(values)
    present = np.flatnonzero(np.bincount(whole.ravel()))
    placement = place(affine_lps_mm, whole.shape, stack)
    cut, where = laid(whole, placement, stack.shape_zyx)
    for value in present[present > 0]:
        mask = np.zeros(stack.shape_zyx, bool)
        mask[where] = cut == value
        yield Structure(number=int(value), name="", mask_zyx=mask)


def _whole(values: NDArray[np.generic]) -> NDArray[np.uint16]:
    """Return a mask's values as whole numbers."""
    if values.ndim != SPACE_AXES:
        raise UnusableAnnotation(f"a mask of shape {values.shape}: allowed are three axes")
    finite = values if np.issubdtype(values.dtype, np.integer) else np.nan_to_num(values.astype(np.float64), nan=-1.0)
    if not values.size or finite.min() < 0 or finite.max() > LARGEST_VALUE:
        raise UnusableAnnotation(f"mask values: allowed are whole numbers of 0 to {LARGEST_VALUE}")
    rounded = np.rint(finite).astype(np.uint16)
    if not np.array_equal(rounded, finite):
        raise UnusableAnnotation("mask values are no whole numbers: this is an image or a probability, not a mask")
    return rounded


def _of_nrrd(read: Nrrd, stack: SliceStack) -> Iterator[Structure]:
    """Yield the segments of a Slicer segmentation (layers may overlap), else the values of a plain mask."""
    segments: dict[str, dict[str, str]] = {}
    for key, text in read.fields.items():
        found = SEGMENT_FIELD.fullmatch(key)
        if found:
            segments.setdefault(found[1], {})[found[2]] = text
    layers = read.values[None] if read.values.ndim == SPACE_AXES else read.values
    if not segments:
        if len(layers) != 1:
            raise UnusableAnnotation(f"NRRD of {len(layers)} layers without segment names: which is which?")
        yield from _of_values(layers[0], read.affine_lps_mm, stack)
        return
    placement = place(read.affine_lps_mm, layers.shape[1:], stack)
    for number, about in enumerate(segments.values(), start=1):
        layer, value = int(about.get("Layer", 0)), int(about.get("LabelValue", number))
        cut, where = laid(_whole(layers[layer]) == value, placement, stack.shape_zyx)
        mask = np.zeros(stack.shape_zyx, bool)
        mask[where] = cut
        category, kind = _terms(about.get("Tags", ""))
        yield Structure(number=number, name=about.get("Name", ""), mask_zyx=mask, category=category, type=kind,
                        colour_rgb=_colour(about.get("Color", "")))


def _terms(tags: str) -> tuple[Code | None, Code | None]:
    """Return category and type of a Slicer terminology entry: name~scheme^value^meaning~scheme^value^meaning~..."""
    found = TERM.search(tags)
    codes: list[Code | None] = []
    for part in (found[1] if found else "").split("~")[1:3]:
        scheme, value, meaning = [*part.split("^"), "", "", ""][:3]
        try:
            codes.append(Code(value=value, scheme=scheme, meaning=meaning[:64]))
        except ValueError:
            codes.append(None)
    return (codes[0], codes[1]) if len(codes) == 2 else (None, None)  # noqa: PLR2004


def _colour(text: str) -> tuple[int, int, int] | None:
    parts = [round(255 * min(1.0, max(0.0, float(value)))) for value in text.split()]
    return (parts[0], parts[1], parts[2]) if len(parts) == SPACE_AXES else None
