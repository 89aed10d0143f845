"""A phantom chest CT as DICOM files: what a scanner would send."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from dicomnode.domain.dicom import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.phantom.chest import ChestPhantom, chest_ct

SHAPE_ZYX: Final = (110, 256, 256)
SPACING_ZYX_MM: Final = (2.5, 1.4, 1.4)
NODULES: Final = 3
NODULE_DIAMETERS_MM: Final = (8.0, 16.0)

STUDY: Final = {
    "PatientName": "Phantom^Demonstration",
    "PatientID": "DEMO-0001",
    "PatientBirthDate": "19650401",
    "PatientSex": "O",
    "PatientAge": "061Y",
    "AccessionNumber": "DEMO1",
    "StudyID": "1",
    "StudyDate": "20260105",
    "StudyTime": "090000",
    "StudyDescription": "CT chest (synthetic phantom)",
    "ReferringPhysicianName": "",
}
SERIES: Final = {
    "Modality": "CT",
    "SeriesNumber": 2,
    "SeriesDescription": "Thorax 2.5 mm",
    "SeriesDate": "20260105",
    "SeriesTime": "090100",
    "BodyPartExamined": "CHEST",
    "PatientPosition": "HFS",
    "Manufacturer": "Phantom",
    "ManufacturerModelName": "Synthetic CT",
    "DeviceSerialNumber": "1",
    "SoftwareVersions": "1",
    "PositionReferenceIndicator": "",
    "ProtocolName": "Thorax",
    "KVP": "120",
    "ConvolutionKernel": "STANDARD",
    "AcquisitionNumber": 1,
    "AcquisitionDate": "20260105",
    "AcquisitionTime": "090100",
    "GantryDetectorTilt": "0",
}
IMAGE: Final = {
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 1,
    "RescaleSlope": "1",
    "RescaleIntercept": "0",
    "RescaleType": "HU",
    "WindowCenter": "-500",
    "WindowWidth": "1500",
    "ContentDate": "20260105",
    "ContentTime": "090100",
}


def write_phantom_study(folder: Path, *, seed: int) -> ChestPhantom:
    """Write a chest CT of ``SHAPE_ZYX`` to ``folder`` and return the phantom it was drawn from.

    The patient frame is LPS in millimetres: slices from the feet to the head, rows to the back, columns to
    the left. Each call makes a new study: UIDs are random, so that a tour after a tour is not a resend.
    """
    phantom = chest_ct(
        seed,
        shape_zyx=SHAPE_ZYX,
        spacing_zyx_mm=SPACING_ZYX_MM,
        nodules=NODULES,
        nodule_diameters_mm=NODULE_DIAMETERS_MM,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(slices_of(phantom), start=1):
        image.save_as(folder / f"CT.{number:04d}.dcm", enforce_file_format=True)
    return phantom


def slices_of(phantom: ChestPhantom) -> Iterator[Dataset]:
    """Yield a phantom's CT images from the feet to the head, as one new series of one new study."""
    study_uid, series_uid, frame_uid = (_new_uid() for _ in range(3))
    dz, dy, dx = phantom.spacing_zyx_mm
    _, rows, columns = phantom.hu_zyx.shape
    corner_mm = -dx * (columns - 1) / 2, -dy * (rows - 1) / 2
    for index, hu_yx in enumerate(phantom.hu_zyx):
        image = Dataset()
        for keyword, value in {**STUDY, **SERIES, **IMAGE}.items():
            setattr(image, keyword, value)
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, _new_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study_uid, series_uid, frame_uid
        image.InstanceNumber = index + 1
        image.SliceThickness = dz
        image.ImagePositionPatient = [round(corner_mm[0], 4), round(corner_mm[1], 4), round(index * dz, 4)]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing = [dy, dx]
        image.Rows, image.Columns = rows, columns
        _set_pixels(image, hu_yx)
        yield image


def _set_pixels(image: Dataset, hu_yx: NDArray[np.int16]) -> None:
    image.PixelData = np.ascontiguousarray(hu_yx, dtype="<i2").tobytes()
    image["PixelData"].VR = "OW"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    image.file_meta = meta


def _new_uid() -> str:
    return f"2.25.{uuid.uuid4().int}"
