"""The tables of a model file: which keys there are, and what each may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, Required

from pydantic import BeforeValidator, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from dicomnode.config.conditions import When, Wishes
from dicomnode.config.kinds import (
    Amount,
    AmountOrZero,
    AtLeastOne,
    Count,
    CountOrZero,
    Fraction,
    Name,
    Number,
    Text,
    Tilt,
)
from dicomnode.config.node_schema import STRICT

Byte = Annotated[int, Field(ge=0, le=255)]
Colour = Annotated[list[Byte], Field(min_length=3, max_length=3)]
Treatment = Literal["flag", "refuse", "ignore"]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


GroupName = Annotated[str, Field(max_length=24)]


class CodeTable(TypedDict):
    """A coded concept (PS3.3 Section 8)."""

    value: Annotated[str, Field(min_length=1, max_length=16)]
    scheme: Annotated[str, Field(min_length=1, max_length=16)]
    meaning: Annotated[str, Field(min_length=1, max_length=64)]
    meaning_zh: NotRequired[Annotated[str, Field(min_length=1, max_length=64)]]


class CountRangeTable(TypedDict, total=False):
    """Inclusive bounds of a number of slices."""

    min: AtLeastOne
    max: AtLeastOne


class AgeRangeTable(TypedDict, total=False):
    """Inclusive bounds of an age in years."""

    min: AmountOrZero
    max: AmountOrZero


class SpacingTable(TypedDict, total=False):
    """``spacing_mm`` of an input."""

    max_between_slices: Amount
    min_between_slices: Amount
    max_in_plane: Amount
    uneven: Fraction
    max_gap: Amount
    tilt_deg: Tilt


class InputTable(TypedDict, total=False):
    """``[[inputs]]``."""

    role: Required[Name]
    required: bool
    modality: Text
    orientation: Literal["any", "axial", "sagittal", "coronal"]
    slices: CountRangeTable
    spacing_mm: SpacingTable
    contrast: Literal["any", "with", "without"]
    prefer: Wishes
    when: When
    resample: bool
    any_frame: bool
    split_by: Literal["", "AcquisitionNumber", "TemporalPositionIdentifier", "EchoTime", "TriggerTime",
                      "DiffusionBValue", "StackID", "ImageType"]
    split_take: Text


class LabelTable(TypedDict, total=False):
    """``[[labels]]``."""

    value: Required[Count]
    name: Required[Text]
    category: Required[CodeTable]
    type: Required[CodeTable]
    colour_rgb: Required[Colour]
    modifier: CodeTable
    region: CodeTable
    measure: list[Literal["volume_ml", "mean_hu", "diameter_mm"]]
    lesion: bool
    min_ml: AmountOrZero
    min_diameter_mm: AmountOrZero
    group: GroupName


class ClassTable(TypedDict, total=False):
    """``[[classes]]``."""

    value: Required[CountOrZero]
    name: Required[Text]
    code: Required[CodeTable]
    finding: bool


class DetectionTable(TypedDict, total=False):
    """``[detection]``."""

    score_at_least: Fraction
    nms_iou: Fraction
    most: Count


class ClassificationTable(TypedDict, total=False):
    """``[classification]``."""

    report_at_least: Fraction
    exclusive: bool
    activation: Literal["bundle", "softmax", "sigmoid"]


class LimitsTable(TypedDict, total=False):
    """``[limits]``: ``age_years``, and every other key a DICOM keyword."""

    age_years: AgeRangeTable
    when: When


class QualityTable(TypedDict, total=False):
    """``[quality]``."""

    constant_slices: Treatment
    duplicate_slices: Treatment
    saturation: Treatment
    hounsfield: Treatment
    padding: Literal["keep", "air"]


class ValidatedTable(TypedDict):
    """One row of ``[runtime.validated]``."""

    dice_between: Fraction
    dice_lost: Number
    cases: Count


class RuntimeTable(TypedDict, total=False):
    """``[runtime]``."""

    precision: Literal["auto", "float32", "bfloat16"]
    fast_resample: bool
    clamp_roi: bool
    crop_to_body: bool
    backend: Literal["torch", "openvino", "compile", "tensorrt"]
    sw_batch_size: Count
    time_limit_s: Amount
    memory_limit_mb: Count
    overrides: dict[str, Any]
    remove: list[Text]
    validated: dict[Literal["precision", "fast_resample", "clamp_roi", "crop_to_body", "backend", "together"],
                    ValidatedTable]


class OutputsTable(TypedDict, total=False):
    """``[outputs]``."""

    seg: bool
    sr: bool
    capture: bool
    gsps: bool
    rtstruct: bool
    parametric: bool
    quantity: Literal["probability", "uncertainty"]
    mark: Literal["box", "contour"]


class SelfTestTable(TypedDict, total=False):
    """``[self_test]``."""

    phantom: Required[Text]
    seed: Required[CountOrZero]
    dice_at_least: dict[str, Fraction]
    found_at_least: dict[str, Fraction]


def _split_limits(table: object) -> object:
    if not isinstance(table, Mapping):
        return table
    keywords = {key: value for key, value in table.items() if key != "age_years"}
    ages = {"age_years": table["age_years"]} if "age_years" in table else {}
    return {**ages, "when": keywords}


@with_config(STRICT)
class ModelTable(TypedDict, total=False):
    """The whole of a model file."""

    name: Required[Name]
    task: Required[Literal["segmentation", "detection", "classification"]]
    bundle: Required[Text]
    digest: Required[Digest]
    intended_use: Required[Text]
    version: Text
    trust: Literal["pieces", "code"]
    overlapping: bool
    confirmed: bool
    research: bool
    procedure: CodeTable
    finding_site: CodeTable
    inputs: Required[Annotated[list[InputTable], Field(min_length=1)]]
    labels: list[LabelTable]
    classes: list[ClassTable]
    classification: ClassificationTable
    detection: DetectionTable
    limits: Annotated[LimitsTable, BeforeValidator(_split_limits)]
    quality: QualityTable
    runtime: RuntimeTable
    outputs: OutputsTable
    self_test: SelfTestTable


MODEL_FILE: TypeAdapter[ModelTable] = TypeAdapter(ModelTable)
