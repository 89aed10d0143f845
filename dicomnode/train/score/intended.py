"""Why the node would not analyse a case that is scored all the same: what the model takes and was validated for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from dicomnode.domain.model import InputRole, ModelFile
from dicomnode.domain.study import InstanceRecord
from dicomnode.domain.volume import Volume
from dicomnode.errors import UnusableInput
from dicomnode.read.preflight import preflight
from dicomnode.read.quality import judged
from dicomnode.route.conditions import unmet
from dicomnode.train.dataset.cases import Case, Dataset
from dicomnode.train.score.case_image import IMAGE_STORAGE, SECONDARY_CAPTURE, CaseImage

ATTRIBUTES: Final[Mapping[str, str]] = {
    "maker": "Manufacturer", "scanner": "ManufacturerModelName", "kernel": "ConvolutionKernel",
    "body_part": "BodyPartExamined",
}
"""What data sets say of a case, and the attribute that it stands for."""


def refusals(image: CaseImage, dataset: Dataset, model: ModelFile) -> tuple[str, ...]:
    """Return why the node would refuse these images, and what it would flag; they are scored all the same.

    Of ``[limits]`` only what the data set says of a case can be told: maker, scanner, kernel, body part, modality.
    """
    refused = [reason for role in model.inputs for reason in _of_input(image.volumes[role.role], role)]
    refused += _outside(image.case, dataset, model)
    flagged: tuple[str, ...] = ()
    for role in model.inputs:
        try:
            flagged += judged(image.volumes[role.role], (), model.quality)
        except UnusableInput as error:
            refused.append(error.reason)
    return (*(f"the node would refuse it: {reason}" for reason in dict.fromkeys(refused)), *dict.fromkeys(flagged))


def _of_input(volume: Volume, role: InputRole) -> Iterator[str]:
    count = len(volume.stack.planes)
    if not role.slices.holds(count):
        yield f"{count} slices; the model takes {role.slices}"
    try:
        preflight(volume.stack, role.spacing_mm)
    except UnusableInput as error:
        yield error.reason


def _outside(case: Case, dataset: Dataset, model: ModelFile) -> Iterator[str]:
    said = {ATTRIBUTES[key]: (str(value),) for key, value in case.group.items() if key in ATTRIBUTES}
    attributes = {**said, "Modality": (dataset.modality,)}
    record = InstanceRecord(
        study_uid="2.25.2", series_uid="2.25.3", sop_instance_uid="2.25.10", transfer_syntax_uid="1.2.840.10008.1.2.1",
        sop_class_uid=IMAGE_STORAGE.get(dataset.modality, SECONDARY_CAPTURE), attributes=attributes, content_digest="",
        geometry_digest="", pixel_digest="", size_bytes=0)
    known = {keyword: wanted for keyword, wanted in model.limits.when.items() if keyword in attributes}
    for sentence in unmet(record, known):
        yield f"OutsideIntendedUse: {sentence}"
