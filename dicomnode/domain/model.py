"""The model file: what a bundle's channels mean in DICOM terms, and for what it was validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dicomnode.domain.condition import When, Wish
from dicomnode.domain.dicom import Code
from dicomnode.domain.settings import (
    ClassificationSettings,
    ClassLabel,
    DetectionSettings,
    Outputs,
    QualitySettings,
    SelfTest,
    Validated,
)

TASKS: Final = ("segmentation", "detection", "classification")
BACKENDS: Final = ("torch", "openvino", "compile", "tensorrt")
FAST_PATHS: Final = ("precision", "fast_resample", "clamp_roi", "crop_to_body", "backend")
"""Keys of ``[runtime]`` that make a model faster and may change its result."""
ORIENTATIONS: Final = ("any", "axial", "sagittal", "coronal")
CONTRASTS: Final = ("any", "with", "without")
SPLITTERS: Final = ("AcquisitionNumber", "TemporalPositionIdentifier", "EchoTime", "TriggerTime", "DiffusionBValue",
                    "StackID", "ImageType")
"""Attributes that tell several stacks of one series apart."""
MEASURES: Final = ("volume_ml", "mean_hu", "diameter_mm")
UNCONFIRMED_SCHEME: Final = "99CONFIRM"
"""Coding scheme of a code that nobody has given yet: with one, a model file cannot be confirmed."""
MOST_OVERLAPPING: Final = 16
"""Labels that may share voxels are bits of one number of 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """An inclusive range; None is unbounded."""

    min: float | None = None
    max: float | None = None

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies inside."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        """Show the bounds as a person reads them."""
        if self.min is not None and self.max is not None:
            return f"{self.min:g} to {self.max:g}"
        return f"at least {self.min:g}" if self.min is not None else f"at most {self.max:g}" \
            if self.max is not None else "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpacingLimits:
    """How far apart and how uneven slices may be.

    ``uneven`` is the largest deviation of a gap from the median gap, as a fraction of it; ``max_gap`` the widest gap
    in mm, where slices are missing, that is interpolated over; ``tilt_deg`` the largest gantry tilt that the model was
    validated for. What is uneven or tilted within these is resampled by true positions for the network.
    """

    max_between_slices: float | None = None
    min_between_slices: float | None = None
    max_in_plane: float | None = None
    uneven: float = 0.02
    max_gap: float | None = None
    tilt_deg: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRole:
    """One input of the network: which series of the study may fill it, and which is best.

    ``contrast``: whether a contrast agent was given, as attributes and description say.
    ``prefer`` maps a DICOM keyword to what scores higher: ``thinnest``, ``thickest``, ``most``, ``soft``, ``sharp``,
    ``present``, ``absent``, a number to be near to, a text that the attribute should contain, or texts, best first.
    ``resample``: where the series lies on another grid than the first input's, it is interpolated onto that.
    ``any_frame``: another Frame of Reference UID than the first input's stands for the same frame.
    ``split_by``: where a series holds several stacks, the attribute that tells them apart; ``split_take``: the one to
    take, ``first`` or ``last`` of its values, or a value.
    """

    role: str
    required: bool = True
    modality: str = "CT"
    orientation: str = "any"
    slices: Range = field(default_factory=lambda: Range(min=1))
    spacing_mm: SpacingLimits = field(default_factory=SpacingLimits)
    contrast: str = "any"
    prefer: Mapping[str, Wish] = field(default_factory=dict)
    when: When = field(default_factory=dict)
    resample: bool = False
    any_frame: bool = False
    split_by: str = ""
    split_take: str = "first"

    def __post_init__(self) -> None:
        """Refuse an unknown orientation, contrast, or attribute to split by."""
        if self.split_by not in {"", *SPLITTERS}:
            msg = f"split_by = {self.split_by!r}: allowed are {', '.join(SPLITTERS)}"
            raise ValueError(msg)
        if self.contrast not in CONTRASTS:
            msg = f"contrast = {self.contrast!r}: allowed are {', '.join(CONTRASTS)}"
            raise ValueError(msg)
        if self.orientation not in ORIENTATIONS:
            msg = f"orientation = {self.orientation!r}: allowed are {', '.join(ORIENTATIONS)}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One value of the label map, in DICOM terms (PS3.3 C.8.20.2).

    ``lesion = true``: connected components become findings with place, diameter and tracking UID;
    otherwise the structure is measured as a whole.
    """

    value: int
    name: str
    category: Code
    type: Code
    colour_rgb: tuple[int, int, int]
    modifier: Code | None = None  # laterality
    region: Code | None = None  # anatomic region of a lesion
    measure: tuple[str, ...] = ("volume_ml",)
    lesion: bool = False
    min_ml: float = 0.0
    min_diameter_mm: float = 0.0
    group: str = ""  # structures of one object, where a model marks too many for one

    def __post_init__(self) -> None:
        """Refuse values that a SEG cannot carry."""
        if self.value < 1:
            msg = f"label value = {self.value}: allowed are values above 0 (0 is background)"
            raise ValueError(msg)
        if not all(0 <= part <= 255 for part in self.colour_rgb):  # noqa: PLR2004
            msg = f"colour_rgb = {self.colour_rgb}: allowed are three values of 0 to 255"
            raise ValueError(msg)
        unknown = set(self.measure) - set(MEASURES)
        if unknown:
            msg = f"measure = {sorted(unknown)}: allowed are {', '.join(MEASURES)}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the model was validated for: outside, ``OutsideIntendedUse``."""

    when: When = field(default_factory=dict)
    age_years: Range = field(default_factory=Range)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """How the bundle is run; every fast path is a switch, validated when the model was published.

    ``precision``: ``float32``, ``bfloat16`` or ``auto`` (bfloat16 where the processor has it).
    ``fast_resample``: own resampling and inverse in place of the bundle's.
    ``clamp_roi``: shrink the sliding window to the image.
    ``crop_to_body``: run the network on the box around the body; CT only, with ``fast_resample``.
    ``backend``: what runs the network: ``torch``, ``openvino``, ``compile`` or ``tensorrt``; torch where it cannot.
    ``validated``: fast path (``together`` for all of them at once) → what it was seen to change.
    ``overrides``: bundle ids replaced before anything is instantiated; ``remove``: ids taken out.
    """

    precision: str = "float32"
    fast_resample: bool = False
    clamp_roi: bool = False
    crop_to_body: bool = False
    backend: str = "torch"
    sw_batch_size: int | None = None
    time_limit_s: float = 600.0
    memory_limit_mb: int = 8000
    overrides: Mapping[str, object] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    validated: Mapping[str, Validated] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an unknown precision or backend."""
        if self.backend not in BACKENDS:
            msg = f"backend = {self.backend!r}: allowed are {', '.join(BACKENDS)}"
            raise ValueError(msg)
        if self.precision not in {"auto", "float32", "bfloat16"}:
            msg = f"precision = {self.precision!r}: allowed are auto, float32, bfloat16"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of ``config/models/``: a bundle and everything DICOM needs to know about it."""

    name: str
    task: str
    bundle: str
    digest: str
    intended_use: str
    inputs: tuple[InputRole, ...]
    labels: tuple[Label, ...]
    version: str = "0"
    trust: str = "pieces"
    overlapping: bool = False  # labels may share voxels: channel v - 1 of the output is label v
    confirmed: bool = True  # false: codes and inputs are guesses; no route may name the model
    research: bool = True
    procedure: Code | None = None  # Procedure Reported (TID 1500), from CID 100
    finding_site: Code | None = None
    classes: tuple[ClassLabel, ...] = ()
    classification: ClassificationSettings = field(default_factory=ClassificationSettings)
    detection: DetectionSettings = field(default_factory=DetectionSettings)
    limits: Limits = field(default_factory=Limits)
    quality: QualitySettings = field(default_factory=QualitySettings)
    runtime: Runtime = field(default_factory=Runtime)
    outputs: Outputs = field(default_factory=Outputs)
    self_test: SelfTest | None = None
    file_digest: str = ""  # sha256 of the model file itself

    def __post_init__(self) -> None:
        """Refuse what the node cannot run."""
        if self.task not in TASKS:
            msg = f"task = {self.task!r}: allowed are {', '.join(TASKS)}"
            raise ValueError(msg)
        if self.trust not in {"pieces", "code"}:
            msg = f"trust = {self.trust!r}: allowed are 'pieces' and 'code'"
            raise ValueError(msg)
        if not self.digest.startswith("sha256:") or len(self.digest) != 71:  # noqa: PLR2004
            msg = f"digest = {self.digest!r}: allowed is 'sha256:' and 64 hexadecimal digits"
            raise ValueError(msg)
        values = [label.value for label in self.labels]
        if len(set(values)) != len(values):
            msg = f"labels: a value stands twice in {values}"
            raise ValueError(msg)
        if self.overlapping and max(values, default=0) > MOST_OVERLAPPING:
            msg = f"overlapping = true: allowed are label values 1 to {MOST_OVERLAPPING}, met {max(values)}"
            raise ValueError(msg)
        if not self.inputs:
            msg = "inputs: at least one [[inputs]] table is needed"
            raise ValueError(msg)

    def label(self, value: int) -> Label:
        """Return the label of a mask value."""
        return next(label for label in self.labels if label.value == value)

    def unconfirmed(self) -> tuple[str, ...]:
        """Return the names of labels and classes whose code nobody has given yet."""
        named = [(label.name, label.type) for label in self.labels] + [(one.name, one.code) for one in self.classes]
        return tuple(name for name, code in named if code.scheme == UNCONFIRMED_SCHEME)
