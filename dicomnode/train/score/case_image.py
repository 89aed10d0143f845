"""A case of a data set as the node's runner takes it: volumes on slice planes, the truth on the same grid."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.model import ModelFile
from dicomnode.domain.volume import SlicePlane, SliceStack, Volume
from dicomnode.errors import UnusableDataset
from dicomnode.train.dataset.cases import Case, Dataset

RAS_TO_LPS: Final = np.diag((-1.0, -1.0, 1.0, 1.0))
SQUARE: Final = 1e-3
"""Largest cosine between a row and a column, which DICOM wants orthogonal (dimensionless)."""
IMAGE_STORAGE: Final = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"

Affine = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaseImage:
    """One case in memory.

    Parameters
    ----------
    volumes : by the model's roles.
    truth_zyx : the label map on the same planes; None where the data set has boxes or classes only.
    """

    case: Case
    volumes: dict[str, Volume]
    truth_zyx: NDArray[Any] | None

    @property
    def volume(self) -> Volume:
        """The volume whose grid findings lie on: that of the model's first role."""
        return next(iter(self.volumes.values()))


def read_case(case: Case, dataset: Dataset, model: ModelFile) -> CaseImage:
    """Read the images of a case for the roles of a model.

    Roles and channels of the same names belong together; where no name agrees, they belong together in order.

    Raises
    ------
    UnusableDataset
        If a role has no channel, or a file is no volume of rows and columns at right angles.
    """
    volumes, flipped = {}, False
    for role, place in _channels(dataset, model):
        values, affine = _read(case.images[place])
        values, stack, flipped = _placed(values, affine, dataset.modality)
        volumes[role] = Volume(values_zyx=values, stack=stack, modality=dataset.modality)
    truth = None
    if case.label is not None:
        truth, _ = _read(case.label)
        truth = truth[::-1] if flipped else truth
    return CaseImage(case=case, volumes=volumes, truth_zyx=truth)


def channel_problems(dataset: Dataset, model: ModelFile) -> list[str]:
    """Return why the channels of a data set cannot fill the roles of a model."""
    names = {role.role for role in model.inputs}
    if names <= set(dataset.channels) or len(names) == len(dataset.channels):
        return []
    roles, channels = (", ".join(names) for names in ((role.role for role in model.inputs), dataset.channels))
    return [f"model {model.name} takes {roles}; the data set has the channels {channels}"]


def _channels(dataset: Dataset, model: ModelFile) -> list[tuple[str, int]]:
    problems = channel_problems(dataset, model)
    if problems:
        raise UnusableDataset(*problems)
    roles = [role.role for role in model.inputs]
    if set(roles) <= set(dataset.channels):
        return [(role, dataset.channels.index(role)) for role in roles]
    return list(zip(roles, range(len(roles)), strict=True))


def _read(path: Path) -> tuple[NDArray[Any], Affine]:
    """Return the values, slice first, and the affine: (slice, row, column, 1) → LPS mm."""
    try:
        image: Any = nibabel.Nifti1Image.from_filename(path)
        stored = np.asanyarray(image.dataobj)
    except (ImageFileError, OSError, ValueError, EOFError, zlib.error) as error:
        raise UnusableDataset(f"{path.name}: no readable NIfTI file: {type(error).__name__}: {error}") from error
    if stored.ndim != 3:  # noqa: PLR2004
        raise UnusableDataset(f"{path.name}: has {stored.ndim} axes; a volume has three")
    values = stored if stored.dtype.kind in "iu" else stored.astype(np.float32)
    affine = (RAS_TO_LPS @ np.asarray(image.affine, np.float64))[:, [2, 1, 0, 3]]
    return np.asarray(values).transpose(2, 1, 0), affine


def _placed(values_zyx: NDArray[Any], affine: Affine, modality: str) -> tuple[NDArray[Any], SliceStack, bool]:
    """Lay an array on slice planes that follow one another along their normal; the slices turn round if need be."""
    slice_step, column, row = (affine[:3, axis] for axis in range(3))
    row_mm, column_mm = float(np.linalg.norm(column)), float(np.linalg.norm(row))
    if not np.linalg.det(affine[:3, :3]):
        raise UnusableDataset(f"the image's affine {affine[:3].round(3).tolist()} gives its voxels no volume")
    if abs(row @ column) > SQUARE * row_mm * column_mm:
        raise UnusableDataset("rows and columns of the image are not at right angles: DICOM has no such image")
    count = values_zyx.shape[0]
    flip = bool(np.cross(row, column) @ slice_step < 0)
    places = range(count)[::-1] if flip else range(count)
    planes = tuple(
        SlicePlane(
            position_lps_mm=affine[:3, 3] + slice_step * place, row_lps=row / column_mm, column_lps=column / row_mm,
            pixel_spacing_mm=(row_mm, column_mm), thickness_mm=float(np.linalg.norm(slice_step)),
            instance=InstanceRef(sop_class_uid=IMAGE_STORAGE.get(modality, SECONDARY_CAPTURE),
                                 sop_instance_uid=f"2.25.{place + 10}"))
        for place in places)
    stack = SliceStack(study_uid="2.25.2", series_uid="2.25.3", frame_of_reference_uid="2.25.4", planes=planes,
                       rows=values_zyx.shape[1], columns=values_zyx.shape[2])
    ordered = values_zyx[::-1] if flip else values_zyx
    kept = np.int16 if _fits_int16(ordered) else np.float32
    return np.ascontiguousarray(ordered, dtype=kept), stack, flip


def _fits_int16(values: NDArray[Any]) -> bool:
    return values.dtype in {np.dtype(np.int16), np.dtype(np.uint8), np.dtype(np.int8)}
