"""Tables of a model file: what becomes a finding and what is made of it, which pixels it may be given, its proofs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dicomnode.domain.dicom import Code

ACTIVATIONS: Final = ("bundle", "softmax", "sigmoid")
TREATMENTS: Final = ("flag", "refuse", "ignore")
PADDINGS: Final = ("keep", "air")
QUANTITIES: Final = ("probability", "uncertainty")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionSettings:
    """Which boxes of a detector become findings.

    ``score_at_least``: boxes below this score are left out.
    ``nms_iou``: of two boxes of one label that overlap more than this (intersection over union), the stronger stays.
    ``most``: of the boxes that remain, so many of the highest scores.
    """

    score_at_least: float = 0.5
    nms_iou: float = 0.15
    most: int = 50

    def __post_init__(self) -> None:
        """Refuse fractions outside 0 to 1 and a number below 1."""
        for name in ("score_at_least", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} = {getattr(self, name)}: allowed are values of 0 to 1"
                raise ValueError(msg)
        if self.most < 1:
            msg = f"most = {self.most}: allowed are values above 0"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLabel:
    """One class of a classification model, in DICOM terms; ``value`` is its channel in the output, from 0.

    ``finding = false``: the class says that nothing is there, such as 'No fracture'.
    """

    value: int
    name: str
    code: Code
    finding: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no channel."""
        if self.value < 0:
            msg = f"class value = {self.value}: allowed are the channels of the output, from 0"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationSettings:
    """How probabilities become what a report says.

    ``report_at_least``: a class is reported as present from this probability on.
    ``exclusive``: exactly one class holds, the most probable one; false: each class stands for itself.
    ``activation``: ``bundle``, or ``softmax`` or ``sigmoid`` where the bundle gives scores without one.
    """

    report_at_least: float = 0.5
    exclusive: bool = True
    activation: str = "bundle"

    def __post_init__(self) -> None:
        """Refuse an unknown activation and a probability outside 0 to 1."""
        if self.activation not in ACTIVATIONS:
            msg = f"activation = {self.activation!r}: allowed are {', '.join(ACTIVATIONS)}"
            raise ValueError(msg)
        if not 0 <= self.report_at_least <= 1:
            msg = f"report_at_least = {self.report_at_least}: allowed are values of 0 to 1"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualitySettings:
    """What happens to images whose pixels look wrong: ``flag`` (reports say so), ``refuse`` or ``ignore``.

    ``constant_slices``: slices that hold one value only.
    ``duplicate_slices``: slices with the same pixels as another one.
    ``saturation``: many pixels at the highest value: the range was cut off.
    ``hounsfield``: CT values that are no Hounsfield units: nothing like air, or nothing like tissue.
    ``padding``: pixels outside the field of view (Pixel Padding Value) reach the network as they are (``keep``), or
    as air (``air``; CT only).
    """

    constant_slices: str = "flag"
    duplicate_slices: str = "flag"
    saturation: str = "flag"
    hounsfield: str = "flag"
    padding: str = "keep"

    def __post_init__(self) -> None:
        """Refuse an unknown word."""
        for name, allowed in (("constant_slices", TREATMENTS), ("duplicate_slices", TREATMENTS),
                              ("saturation", TREATMENTS), ("hounsfield", TREATMENTS), ("padding", PADDINGS)):
            if getattr(self, name) not in allowed:
                msg = f"{name} = {getattr(self, name)!r}: allowed are {', '.join(allowed)}"
                raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """What a fast path was seen to change when the model was published.

    ``dice_between``: Dice between the voxels with and without it, of all cases together, at the worst label.
    ``dice_lost``: by how much Dice against the truth fell, at the worst label; below 0 where all rose.
    """

    dice_between: float
    dice_lost: float
    cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Which objects a result has, whoever takes them.

    ``quantity``: what a parametric map shows of each voxel: ``probability``, that of the label, of several the largest;
    or ``uncertainty``, the entropy of the classes' probabilities as a fraction of the largest possible.
    """

    seg: bool = True
    sr: bool = True
    capture: bool = False
    gsps: bool = False
    rtstruct: bool = False
    parametric: bool = False
    quantity: str = "probability"
    mark: str = "box"  # or "contour": how reports draw a finding that has a mask, on its key slice

    def __post_init__(self) -> None:
        """Refuse an unknown quantity, or mark."""
        if self.mark not in {"box", "contour"}:
            msg = f"mark = {self.mark!r}: allowed are 'box' and 'contour'"
            raise ValueError(msg)
        if self.quantity not in QUANTITIES:
            msg = f"quantity = {self.quantity!r}: allowed are {', '.join(QUANTITIES)}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """A phantom that the model must still solve: run by ``dicomnode check --deep``.

    Parameters
    ----------
    dice_at_least:
        Label → smallest Dice of its voxels.
    found_at_least:
        Label → smallest share of its findings that are found; for detection.
    """

    phantom: str
    seed: int
    dice_at_least: Mapping[str, float] = field(default_factory=dict)
    found_at_least: Mapping[str, float] = field(default_factory=dict)
