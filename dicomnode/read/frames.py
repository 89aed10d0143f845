"""Attributes of one frame: of the image itself, or of an Enhanced image's functional groups (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from pydicom import Dataset
from pydicom import Sequence as DicomSequence

from dicomnode.read.part10 import PARSE_ERRORS
from dicomnode.read.values import tag_and_vr, texts, whole

SHARED: Final = "SharedFunctionalGroupsSequence"
PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"
GROUP_OF: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),  # C.7.6.16.2.3
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),  # C.7.6.16.2.4
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),  # C.7.6.16.2.1
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "SpacingBetweenSlices": ("PixelMeasuresSequence", "SpacingBetweenSlices"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),  # C.7.6.16.2.9
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "RescaleType": ("PixelValueTransformationSequence", "RescaleType"),
    "ConvolutionKernel": ("CTReconstructionSequence", "ConvolutionKernel"),  # C.8.15.3.6
    "KVP": ("CTXRayDetailsSequence", "KVP"),  # C.8.15.3.9
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),  # C.8.13.5.4
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),  # C.8.13.5.2
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "EchoTrainLength": ("MRTimingAndRelatedParametersSequence", "EchoTrainLength"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),  # C.8.13.5.5
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),  # C.8.13.5.9
    "TriggerTime": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),  # C.7.6.16.2.7
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),  # C.7.6.16.2.2
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "StackID": ("FrameContentSequence", "StackID"),
})
"""Keyword of a single-frame image → (functional group, keyword there)."""


def is_multiframe(header: Dataset) -> bool:
    """Whether geometry lies in functional groups."""
    return tag_and_vr(SHARED)[0] in header or tag_and_vr(PER_FRAME)[0] in header


def frame_count(header: Dataset) -> int:
    """Return how many frames the image has: as many as it describes, 1 for a single-frame image."""
    if PER_FRAME in header:
        return len(_items(header, PER_FRAME))
    return max(1, whole(header, "NumberOfFrames", 1))


def frame_texts(header: Dataset, frame: int, keyword: str) -> tuple[str, ...]:
    """Return an attribute of frame ``frame`` (1-based): its own group, else the shared one, else the image's."""
    if keyword in GROUP_OF and is_multiframe(header):
        group, inner = GROUP_OF[keyword]
        for sequence, index in ((PER_FRAME, frame - 1), (SHARED, 0)):
            items = _items(header, sequence)
            inside = _items(items[index], group) if index < len(items) else ()
            if inside and (found := texts(inside[0], inner)):
                return found
    return texts(header, keyword)


def frame_numbers(header: Dataset, frame: int, keyword: str) -> tuple[float, ...]:
    """Return a numeric attribute of a frame; () if absent or not numbers."""
    try:
        return tuple(float(text) for text in frame_texts(header, frame, keyword))
    except ValueError:
        return ()


def coded(header: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the Code Meanings of a sequence of codes, a code's value where it has none; () if absent."""
    found = (texts(item, "CodeMeaning") or texts(item, "CodeValue") for item in _items(header, keyword))
    return tuple(text for one in found for text in one[:1])


def _items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    """Return a sequence's items; () if it is absent or damaged: what it should say is then absent too."""
    try:
        element = dataset.get(keyword)
    except (*PARSE_ERRORS, OSError):
        return ()
    return element if isinstance(element, DicomSequence) else ()  # another VR may stand there
