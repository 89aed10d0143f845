"""Codes that results use, each with its clause and the meaning that the standard gives it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from highdicom.sr import CodedConcept

from dicomnode.domain.dicom import Code


def concept(code: Code) -> CodedConcept:
    """Return a domain code as the content item value that highdicom writes."""
    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def _dcm(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="DCM", meaning=meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="SCT", meaning=meaning)


ARTIFICIAL_INTELLIGENCE: Final = _dcm("123110", "Artificial Intelligence")  # CID 7162, algorithm family
PROCESSING_EQUIPMENT: Final = _dcm("109102", "Processing Equipment")  # CID 7005

# Document titles. Only a report whose every group has coordinates is titled 126000 (CID 7021).
IMAGING_MEASUREMENT_REPORT: Final = _dcm("126000", "Imaging Measurement Report")
ONCOLOGY_MEASUREMENT_REPORT: Final = _dcm("126001", "Oncology Measurement Report")
DIAGNOSTIC_IMAGING_REPORT: Final = Code(value="18748-4", scheme="LN", meaning="Diagnostic Imaging Report")  # CID 7000

# Titles of Key Object Selections (CID 7010)
MANIFEST: Final = _dcm("113030", "Manifest")
REJECTED_FOR_QUALITY: Final = _dcm("113001", "Rejected for Quality Reasons")

FINDINGS: Final = _dcm("121070", "Findings")  # CID 7001
FINDING: Final = _dcm("121071", "Finding")  # CID 7002
CONCLUSIONS: Final = _dcm("121076", "Conclusions")  # CID 7001
CONCLUSION: Final = _dcm("121077", "Conclusion")  # CID 7002
COMMENT: Final = _dcm("121106", "Comment")
PRESENCE: Final = _dcm("121052", "Presence of property")
PRESENT: Final = _sct("52101004", "Present")  # CID 240
ABSENT: Final = _sct("272519000", "Absent")  # CID 240
UNDETERMINED: Final = _sct("373068000", "Undetermined")  # CID 240
FINDING_SITE: Final = _sct("363698007", "Finding Site")

DIAMETER: Final = _sct("81827009", "Diameter")  # CID 7470
VOLUME: Final = _sct("118565006", "Volume")  # CID 7472
PROBABILITY: Final = _dcm("122157", "Probability")

MEAN: Final = _sct("373098007", "Mean")  # CID 7464
DERIVATIONS: Final[Mapping[str, Code]] = MappingProxyType({"112031": MEAN})
"""How a number of a structure was derived, by the code of its name: an attenuation is the mean over its voxels."""

MILLIMETRE: Final = Code(value="mm", scheme="UCUM", meaning="mm")
CUBIC_CENTIMETRE: Final = Code(value="cm3", scheme="UCUM", meaning="cm3")
UNITY: Final = Code(value="{1}", scheme="UCUM", meaning="no units")
MILLILITRE_VALUES: Final = frozenset({"ml", "mL"})
"""UCUM spellings of the millilitre: written as cm3, the same quantity (CID 7462)."""

SIDES: Final[Mapping[str, Code]] = MappingProxyType({  # CID 244
    "left": _sct("7771000", "Left"),
    "right": _sct("24028007", "Right"),
})

PROCEDURES: Final[Mapping[str, Code]] = MappingProxyType({  # CID 100, by Modality of the source
    "CT": Code(value="25045-6", scheme="LN", meaning="CT unspecified body region"),
    "MR": Code(value="25056-3", scheme="LN", meaning="MRI unspecified body region"),
    "PT": Code(value="44136-0", scheme="LN", meaning="PET unspecified body region"),
})
IMAGING_PROCEDURE: Final = _sct("363679005", "Imaging procedure")  # CID 100, any other modality

LANGUAGES: Final[Mapping[str, Code]] = MappingProxyType({  # CID 5000, RFC 5646
    "en": Code(value="en-US", scheme="RFC5646", meaning="English (United States)"),
    "zh": Code(value="zh-CN", scheme="RFC5646", meaning="Chinese (China)"),
})
