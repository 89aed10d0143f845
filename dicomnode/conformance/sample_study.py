"""The images of two small studies that have no value in common that a scanner may choose."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

VARIANTS: Final = (0, 1)
AIR: Final = -900
TISSUE: Final = 40
"""Stored values."""

HEADER: Final[dict[str, tuple[object, object]]] = {
    "PatientName": ("Example^One", "Sample^Two"), "PatientID": ("E-1", "S-2"),
    "IssuerOfPatientID": ("SITE-1", "SITE-2"),
    "PatientBirthDate": ("19500102", "19610203"), "PatientSex": ("F", "M"), "PatientAge": ("076Y", "065Y"),
    "PatientSize": ("1.6", "1.8"), "PatientWeight": ("60", "80"), "OtherPatientIDs": ("E-11", "S-22"),
    "StudyDate": ("20260101", "20260202"), "StudyTime": ("080000", "090000"), "StudyID": ("11", "22"),
    "StudyDescription": ("Chest", "Abdomen"), "AccessionNumber": ("A-1", "A-2"),
    "ReferringPhysicianName": ("Refers^One", "Refers^Two"), "InstitutionName": ("First Hospital", "Second Hospital"),
    "SeriesNumber": ("3", "4"), "SeriesDescription": ("Thin", "Thick"), "SeriesDate": ("20260103", "20260204"),
    "SeriesTime": ("081000", "091000"), "BodyPartExamined": ("CHEST", "ABDOMEN"), "PatientPosition": ("HFS", "FFS"),
    "Manufacturer": ("Maker One", "Maker Two"), "ManufacturerModelName": ("Model One", "Model Two"),
    "DeviceSerialNumber": ("SN1", "SN2"), "SoftwareVersions": ("V1", "V2"), "StationName": ("ST1", "ST2"),
    "TimezoneOffsetFromUTC": ("+0100", "+0800"), "PositionReferenceIndicator": ("XY", "IC"),
    "ProtocolName": ("Protocol one", "Protocol two"), "AcquisitionDate": ("20260105", "20260206"),
    "AcquisitionTime": ("081500", "091500"), "AcquisitionNumber": ("5", "6"), "KVP": ("100", "120"),
    "ConvolutionKernel": ("B30f", "STANDARD"), "ImageType": (["ORIGINAL", "PRIMARY", "AXIAL"],) * 2,
    "ContentDate": ("20260107", "20260208"), "ContentTime": ("081600", "091600"), "SliceThickness": ("2", "3"),
    "PixelSpacing": ([0.75, 0.75], [0.5, 0.5]), "ImageOrientationPatient": ([1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, -1, 0]),
    "SamplesPerPixel": (1, 1), "PhotometricInterpretation": ("MONOCHROME2",) * 2, "BitsAllocated": (16, 16),
    "BitsStored": (16, 16), "HighBit": (15, 15), "PixelRepresentation": (1, 1), "RescaleSlope": ("1", "2"),
    "RescaleIntercept": ("-1000", "-3"), "RescaleType": ("HU", "US"), "LossyImageCompression": ("00", "01"),
    "LossyImageCompressionRatio": (None, "8"), "LossyImageCompressionMethod": (None, "ISO_10918_1"),
    "WindowCenter": ("40", "50"), "WindowWidth": ("400", "350"),
}
"""Keyword → its value in each of the two studies; None: it has none."""
NEEDED: Final = frozenset({
    "ImageType", "PixelSpacing", "ImageOrientationPatient", "SamplesPerPixel", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
})
"""What no image may lack that is to be analysed; a study of such images is sparse."""
MODALITIES: Final = ("CT", "MR")
SOP_CLASSES: Final = (CTImageStorage, MRImageStorage)
SHAPES_ZYX: Final = ((6, 40, 48), (8, 56, 64))


def write_study(folder: Path, variant: int, *, sparse: bool = False) -> Sequence[Path]:
    """Write one of the two studies, an image a file, and return the files."""
    count, rows, columns = SHAPES_ZYX[variant]
    paths = []
    for index in range(count):
        image = Dataset()
        for keyword, values in HEADER.items():
            if values[variant] is not None and (keyword in NEEDED or not sparse):
                setattr(image, keyword, values[variant])
        image.Modality, image.Rows, image.Columns = MODALITIES[variant], rows, columns
        _identify(image, variant, index)
        image.ImagePositionPatient = [-15.0 + variant, -20.0 - variant, (2.0 + variant) * index * (-1) ** variant]
        image.PixelData = np.full((rows, columns), TISSUE if index else AIR, "<i2").tobytes()
        image["PixelData"].VR = "OW"
        paths.append(folder / f"{index}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def _identify(image: Dataset, variant: int, index: int) -> None:
    image.SOPClassUID, image.SOPInstanceUID = SOP_CLASSES[variant], derived("image", variant, index)
    image.StudyInstanceUID, image.SeriesInstanceUID = derived("study", variant), derived("series", variant)
    image.FrameOfReferenceUID, image.InstanceNumber = derived("frame", variant), index + 1 + 10 * variant
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def derived(*parts: object) -> str:
    """Return a UID that depends on ``parts`` alone."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, repr(parts)).int}"
