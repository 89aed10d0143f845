"""Which equipment contributed to a result: what acquired the images, what wrote the object, and each model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydicom import Dataset

from dicomnode.domain.dicom import MANUFACTURER
from dicomnode.domain.findings import Provenance
from dicomnode.encode.codes import PROCESSING_EQUIPMENT, concept

NAME_MAX_CHARS: Final = 64  # VR LO
TEXT_MAX_CHARS: Final = 1024  # VR ST


def contributors(result: Dataset, models: Sequence[Provenance], moment: datetime) -> list[Dataset]:
    """Return the items highdicom wrote, their clock stopped, and one per model (PS3.3 C.12.1, AIR 6.5.3.1)."""
    items = list(result.get("ContributingEquipmentSequence", []))
    for item in items:
        if item.get("ManufacturerModelName") == "highdicom":
            item.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S%z")
    return [*items, *map(_model, models)]


def _model(one: Provenance) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [concept(PROCESSING_EQUIPMENT)]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = one.model_name[:NAME_MAX_CHARS]
    item.SoftwareVersions = one.model_version[:NAME_MAX_CHARS]
    item.DeviceUID = one.device_uid
    item.ContributionDateTime = one.content_time.strftime("%Y%m%d%H%M%S%z")
    item.ContributionDescription = f"{one.model_digest}. {one.intended_use}"[:TEXT_MAX_CHARS]
    return item
