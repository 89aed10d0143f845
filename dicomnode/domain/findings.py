"""What a model found, in the patient frame and on the source grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.dicom import Code, InstanceRef, uid
from dicomnode.domain.model import Label
from dicomnode.domain.settings import ClassLabel
from dicomnode.domain.volume import SliceStack

Mask = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number with its meaning and unit (UCUM)."""

    name: Code
    value: float
    unit: Code


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """A label map on the source grid.

    Parameters
    ----------
    mask_zyx:
        uint8 or uint16, shape ``stack.shape_zyx``; 0 is background, other values are ``labels[].value``.
    labels:
        Every label the model can give, present in the mask or not.
    overlapping:
        Labels may share voxels: the mask is a field of bits, label value v is bit v - 1. ``voxels`` reads both forms.
    """

    mask_zyx: Mask
    stack: SliceStack
    labels: tuple[Label, ...]
    overlapping: bool = False

    def __post_init__(self) -> None:
        """Refuse a mask off the grid or with a value that has no label."""
        if self.mask_zyx.shape != self.stack.shape_zyx:
            msg = f"mask has shape {self.mask_zyx.shape}, the stack {self.stack.shape_zyx}"
            raise ValueError(msg)
        present = values_present(self.mask_zyx, overlapping=self.overlapping)
        unknown = present - {0} - {label.value for label in self.labels}
        if unknown:
            msg = f"mask holds values {sorted(unknown)} that no label of the model file names"
            raise ValueError(msg)

    def present(self) -> tuple[Label, ...]:
        """Return the labels that have at least one voxel, in the model file's order."""
        present = values_present(self.mask_zyx, overlapping=self.overlapping)
        return tuple(label for label in self.labels if label.value in present)

    def voxels(self, label: Label) -> NDArray[np.bool_]:
        """Return which voxels carry a label, in the shape of the mask."""
        return marked(self.mask_zyx, label.value, overlapping=self.overlapping)

    def voxels_in(self, label: Label, part: tuple[slice, ...]) -> NDArray[np.bool_]:
        """Return which voxels of a part of the mask carry a label."""
        return marked(self.mask_zyx[part], label.value, overlapping=self.overlapping)


def marked(mask: Mask, value: int, *, overlapping: bool = False) -> NDArray[np.bool_]:
    """Return which voxels of a mask, or of a part of one, carry the label of that value."""
    if not overlapping:
        return np.asarray(mask == value)
    if value > 8 * mask.dtype.itemsize:
        return np.zeros(mask.shape, dtype=bool)
    return np.asarray((mask & mask.dtype.type(1 << (value - 1))) != 0)


def values_present(mask_zyx: Mask, *, overlapping: bool = False) -> set[int]:
    """Return the label values of a mask; slice by slice, so that counting needs no wide copy of the whole."""
    if overlapping:
        bits = int(np.bitwise_or.reduce(mask_zyx, axis=None))
        return {bit + 1 for bit in range(bits.bit_length()) if bits >> bit & 1}
    return {int(value) for plane in mask_zyx for value in np.flatnonzero(np.bincount(plane.ravel()))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Organ:
    """One measured structure of a segmentation."""

    label: Label
    voxels: int
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Which software made a result, from what, and when.

    Parameters
    ----------
    device_uid:
        Stable for one set of weights; changes whenever the digest changes.
    content_time:
        When the analysis finished; aware, UTC. Persisted with the result, so that a resend repeats it.
    """

    model_name: str
    model_version: str
    model_digest: str
    intended_use: str
    device_uid: str
    node_version: str
    content_time: datetime
    research: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One finding with a place: a lesion, a nodule.

    Parameters
    ----------
    centre_lps_mm:
        Centre in patient millimetres (LPS).
    key_slice:
        Index into ``stack.planes`` of the slice that shows the finding best.
    box_yx:
        On the key slice, voxel indices (first row, first column, last row, last column), inclusive.
    box_zyx:
        Edges (z0, y0, x0, z1, y1, x1) in index coordinates of the stack: voxel k covers k - 0.5 to k + 0.5.
    volume_ml:
        None where no mask says which voxels belong to it.
    tracking_uid:
        Shared by SEG and SR, and by what several models found of one lesion.
    probability_by:
        Which model gave the probability, where it is another than the one that drew the finding.
    site:
        Where it lies, if a structure of a segmentation says so; laterality in ``side`` ('left', 'right' or '').
    measurements:
        What its label's ``measure`` asks for besides diameter and volume.
    """

    label: Label
    number: int
    centre_lps_mm: tuple[float, float, float]
    key_slice: int
    box_yx: tuple[int, int, int, int]
    diameter_mm: float
    volume_ml: float | None
    tracking_uid: str
    tracking_id: str
    probability: float | None = None
    probability_by: Provenance | None = None
    side: str = ""
    site: Code | None = None
    box_zyx: tuple[float, float, float, float, float, float] | None = None
    measurements: tuple[Measurement, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a box turned inside out or a tracking UID that is no UID."""
        uid(self.tracking_uid)
        first_row, first_column, last_row, last_column = self.box_yx
        if not (0 <= first_row <= last_row and 0 <= first_column <= last_column):
            msg = f"box_yx = {self.box_yx}: allowed is (first row, first column, last row, last column)"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ParametricMap:
    """One number for each voxel of the source grid.

    Parameters
    ----------
    values_zyx:
        float32, shape of the stack, fractions of 0 to 1.
    quantity:
        What the numbers are; they have no unit.
    labels:
        Of which labels; several: of any of them.
    """

    values_zyx: NDArray[np.float32]
    quantity: Code
    labels: tuple[Label, ...]


class Presence(Enum):
    """What a probability says of a class (PS3.16 CID 240)."""

    PRESENT = "present"  # probable enough to be reported
    ABSENT = "absent"  # not probable enough, or another class of an exclusive set holds
    UNDETERMINED = "undetermined"  # of an exclusive set no class is probable enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """One class with its probability, and what follows from it."""

    of: ClassLabel
    probability: float
    presence: Presence

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        if not 0 <= self.probability <= 1:
            msg = f"probability = {self.probability} of {self.of.name}: allowed are values of 0 to 1"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelFindings:
    """Everything one model found in one study."""

    provenance: Provenance
    stack: SliceStack
    segmentation: Segmentation | None = None
    lesion_zyx: NDArray[np.uint16] | None = None  # component numbers = Detection.number, 0 elsewhere
    lesion_layers: tuple[NDArray[np.uint16], ...] = ()  # more of the same, for lesions that share voxels with others
    organs: tuple[Organ, ...] = ()
    detections: tuple[Detection, ...] = ()
    classifications: tuple[Classification, ...] = ()
    parametric: ParametricMap | None = None
    looked_for: tuple[Label, ...] = ()  # lesion labels the model searches for: named in the negative report
    procedure: Code | None = None  # what the reports say was done; None: what the modality says
    finding_site: Code | None = None  # where findings lie whose label names no region
    contoured: bool = False  # reports draw findings by their contour, where they have a mask, not by their box
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] | None = None


def listed(findings: Sequence[ModelFindings]) -> tuple[tuple[ModelFindings, Detection], ...]:
    """Return each finding once, with the model that drew it: that with a mask first, where several models found it.

    In the model's own order; where several models have findings, largest first.
    """
    drawn = [(one, found) for one in findings for found in one.detections]
    best: dict[str, tuple[ModelFindings, Detection]] = {}
    for one, found in sorted(drawn, key=lambda pair: pair[1].volume_ml is None):
        best.setdefault(found.tracking_uid, (one, found))
    once = [(one, found) for one, found in drawn if best[found.tracking_uid][1] is found]
    if sum(bool(one.detections) for one in findings) > 1:
        once.sort(key=lambda pair: (-pair[1].diameter_mm, pair[1].centre_lps_mm))
    return tuple(once)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAnalysed:
    """Why a study has no result: for the report that says so."""

    reason: str  # error class, e.g. MissingSlices
    text: str  # the sentence for people
    study_uid: str
    evidence: tuple[InstanceRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedObject:
    """One result object ready to be written and sent: its identity and its PS3.10 bytes.

    Parameters
    ----------
    kind:
        One of ``domain.node.TAKES``.
    group:
        Alternatives of one another share the group: the peer gets the first that it accepts. An object of group
        ``a`` is an alternative of each of ``a/1``, ``a/2``: one object that stands for several.
    refers_to:
        SOP Instance UIDs of those objects of the same analysis that this one names.
    segments:
        Of a segmentation: (model name, label value) → segment number, for structures that are no lesions.
    """

    kind: str
    group: str
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    transfer_syntax_uid: str
    payload: bytes
    refers_to: tuple[str, ...] = ()
    segments: Mapping[tuple[str, int], int] = field(default_factory=dict)
