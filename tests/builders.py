"""DICOM data for tests: complete, valid CT and MR series from an array and an affine.

Every builder takes DICOM keywords as keyword arguments and refuses a misspelt one; ``None`` removes the attribute,
and a callable is asked for each slice index. UIDs are derived from ``seed``: the same call builds the same bytes.
"""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.datadict import keyword_dict, tag_for_keyword
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

IMPLEMENTATION_UID = "2.25.30411720949471026183549190412785230"
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
PATIENT = {
    "PatientName": "Phantom^Test", "PatientID": "PHANTOM-1", "PatientBirthDate": "19700102", "PatientSex": "O",
    "StudyDate": "20250314", "StudyTime": "101112", "AccessionNumber": "ACC1", "StudyID": "1",
    "ReferringPhysicianName": "", "StudyDescription": "Phantom study", "PatientAge": "055Y",
}
SERIES = {
    "SeriesNumber": 3, "SeriesDescription": "Phantom series", "SeriesDate": "20250314", "SeriesTime": "101200",
    "Manufacturer": "Phantom Works", "ManufacturerModelName": "Model T", "DeviceSerialNumber": "7",
    "SoftwareVersions": "1.0", "PositionReferenceIndicator": "", "PatientPosition": "HFS",
    "AcquisitionNumber": 1, "AcquisitionDate": "20250314", "AcquisitionTime": "101200",
    "ContentDate": "20250314", "ContentTime": "101200", "InstanceCreationDate": "20250314",
    "InstanceCreationTime": "101200", "BodyPartExamined": "CHEST", "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2", "PixelRepresentation": 1,
}
CT_IMAGE = {
    "SOPClassUID": CTImageStorage, "Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "KVP": "120",
    "RescaleIntercept": "-1024", "RescaleSlope": "1", "RescaleType": "HU", "ConvolutionKernel": "STANDARD",
    "BitsStored": 16, "WindowCenter": "40", "WindowWidth": "400", "GantryDetectorTilt": "0",
}
MR_IMAGE = {
    "SOPClassUID": MRImageStorage, "Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
    "ScanningSequence": ["GR", "IR"], "SequenceVariant": "MP", "ScanOptions": "", "MRAcquisitionType": "3D",
    "EchoTime": "2.98", "RepetitionTime": "2300", "InversionTime": "900", "EchoTrainLength": 1,
    "MagneticFieldStrength": "3", "BitsStored": 12, "PixelRepresentation": 0, "BodyPartExamined": "HEAD",
}


ENHANCED_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
ENHANCED = {
    "SOPClassUID": EnhancedCTImageStorage, "Modality": "CT", "ImageType": ENHANCED_TYPE, "BitsAllocated": 16,
    "BitsStored": 16, "HighBit": 15, "AcquisitionContextSequence": [], "PixelPresentation": "MONOCHROME",
    "VolumetricProperties": "VOLUME", "VolumeBasedCalculationTechnique": "NONE", "BurnedInAnnotation": "NO",
    "LossyImageCompression": "00", "PresentationLUTShape": "IDENTITY", "ContentQualification": "PRODUCT",
    "AcquisitionDate": None, "AcquisitionTime": None,
}


def uid_of(*parts: object) -> str:
    """Return a UID that depends on ``parts`` alone."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '|'.join(map(str, parts))).int}"


def affine_lps(
    *,
    spacing_zyx_mm: Sequence[float] = (2.0, 1.0, 1.0),
    row: Sequence[float] = (1, 0, 0),
    column: Sequence[float] = (0, 1, 0),
    origin_mm: Sequence[float] = (-32.0, -40.0, 100.0),
    tilt_deg: float = 0.0,
) -> NDArray[np.float64]:
    """Return the 4×4 that maps (slice, row, column, 1) to LPS mm; ``tilt_deg`` shears slices along the column."""
    row_lps, column_lps = np.asarray(row, float), np.asarray(column, float)
    along = np.cross(row_lps, column_lps) + np.tan(np.radians(tilt_deg)) * column_lps
    affine = np.eye(4)
    affine[:3, :3] = np.stack([along, column_lps, row_lps], axis=1) * np.asarray(spacing_zyx_mm, float)
    affine[:3, 3] = origin_mm
    return affine


def dataset(**attributes: object) -> Dataset:
    """Return a data set of exactly these keywords; a misspelt one is a TypeError; None is left out."""
    built = Dataset()
    for keyword, value in attributes.items():
        if tag_for_keyword(keyword) is None:
            near = difflib.get_close_matches(keyword, keyword_dict, n=1)
            msg = f"{keyword} is no DICOM keyword" + (f"; did you mean {near[0]}?" if near else "")
            raise TypeError(msg)
        if value is not None:
            setattr(built, keyword, value)
    return built


def ct_series(
    hu_zyx: NDArray[np.generic], *, affine: NDArray[np.float64] | None = None, seed: str = "ct", **attributes: object,
) -> list[Dataset]:
    """Return one CT Image per slice of ``hu_zyx`` (whole HU), slice ``k`` at ``affine @ (k, 0, 0, 1)``."""
    intercept = float(str(attributes.get("RescaleIntercept") or CT_IMAGE["RescaleIntercept"]))
    slope = float(str(attributes.get("RescaleSlope") or CT_IMAGE["RescaleSlope"]))
    stored = np.rint((np.asarray(hu_zyx, float) - intercept) / slope)
    return _slices(stored, CT_IMAGE, affine, seed, attributes)


def mr_series(
    values_zyx: NDArray[np.generic], *, affine: NDArray[np.float64] | None = None, seed: str = "mr",
    **attributes: object,
) -> list[Dataset]:
    """Return one MR Image per slice of ``values_zyx`` (0 to 4095), slice ``k`` at ``affine @ (k, 0, 0, 1)``."""
    return _slices(np.asarray(values_zyx), MR_IMAGE, affine, seed, attributes)


def _slices(
    stored_zyx: NDArray[np.generic], kind: dict[str, object], affine: NDArray[np.float64] | None, seed: str,
    attributes: dict[str, object],
) -> list[Dataset]:
    affine = affine_lps() if affine is None else affine
    step, column, row = (affine[:3, axis] for axis in range(3))
    spacing = [float(np.linalg.norm(column)), float(np.linalg.norm(row))]
    normal = np.cross(row / spacing[1], column / spacing[0])
    signed = attributes.get("PixelRepresentation", kind.get("PixelRepresentation", 1))
    pixels = stored_zyx.astype("<i2" if signed else "<u2")
    built = []
    for k, plane in enumerate(pixels):
        position = affine[:3, 3] + k * step
        own = {
            **PATIENT, **SERIES, **kind,
            "StudyInstanceUID": uid_of(seed, "study"), "SeriesInstanceUID": uid_of(seed, "series"),
            "SOPInstanceUID": uid_of(seed, "image", k), "FrameOfReferenceUID": uid_of(seed, "frame of reference"),
            "InstanceNumber": k + 1, "Rows": plane.shape[0], "Columns": plane.shape[1],
            "PixelSpacing": [_ds(value) for value in spacing], "SliceThickness": _ds(abs(float(step @ normal))),
            "ImagePositionPatient": [_ds(value) for value in position],
            "ImageOrientationPatient": [_ds(value) for value in (*(row / spacing[1]), *(column / spacing[0]))],
            "BitsAllocated": 16, "PixelData": plane.tobytes(),
            **{key: value(k) if callable(value) else value for key, value in attributes.items()},
        }
        own.setdefault("HighBit", int(str(own["BitsStored"])) - 1)
        built.append(dataset(**own))
    return built


def enhanced_ct(
    hu_zyx: NDArray[np.generic], *, affine: NDArray[np.float64] | None = None, seed: str = "enhanced",
    order: Sequence[int] | None = None, **attributes: object,
) -> Dataset:
    """Return one Enhanced CT Image, a frame for each slice of ``hu_zyx``, frames in the given ``order`` of slices."""
    order = list(order if order is not None else range(len(hu_zyx)))
    slices = ct_series(hu_zyx, affine=affine, seed=seed)
    pixels = b"".join(slices[k].PixelData for k in order)
    kept = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Rows", "Columns")
    window = dataset(WindowCenter="40", WindowWidth="400")
    frame_type = dataset(
        FrameType=ENHANCED_TYPE, PixelPresentation="MONOCHROME", VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE")
    site = dataset(FrameLaterality="U", AnatomicRegionSequence=[
        dataset(CodeValue="51185008", CodingSchemeDesignator="SCT", CodeMeaning="Chest")])
    shared = dataset(
        PixelMeasuresSequence=[dataset(PixelSpacing=slices[0].PixelSpacing, SliceThickness=slices[0].SliceThickness)],
        PlaneOrientationSequence=[dataset(ImageOrientationPatient=slices[0].ImageOrientationPatient)],
        PixelValueTransformationSequence=[dataset(RescaleIntercept="-1024", RescaleSlope="1", RescaleType="HU")],
        CTImageFrameTypeSequence=[frame_type], FrameAnatomySequence=[site], FrameVOILUTSequence=[window],
        IrradiationEventIdentificationSequence=[dataset(IrradiationEventUID=uid_of(seed, "irradiation"))])
    pointer = dataset(
        DimensionOrganizationUID=uid_of(seed, "dimension"), DimensionIndexPointer=0x00200032,
        FunctionalGroupPointer=0x00209113, DimensionDescriptionLabel="Position")
    own = {
        **PATIENT, **SERIES, **{key: slices[0][key].value for key in kept}, **ENHANCED,
        "SOPInstanceUID": uid_of(seed, "image"), "InstanceNumber": 1, "NumberOfFrames": len(order), "PixelData": pixels,
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": [_frame(slices[k], int(k)) for k in order],
        "DimensionOrganizationSequence": [dataset(DimensionOrganizationUID=uid_of(seed, "dimension"))],
        "DimensionIndexSequence": [pointer], **attributes,
    }
    return dataset(**own)


def _frame(plane: Dataset, index: int) -> Dataset:
    content = dataset(StackID="1", InStackPositionNumber=index + 1, DimensionIndexValues=[index + 1])
    return dataset(
        FrameContentSequence=[content],
        PlanePositionSequence=[dataset(ImagePositionPatient=plane.ImagePositionPatient)])


def _ds(value: float) -> str:
    """Return a decimal string of at most 16 characters (PS3.5 Table 6.2-1, DS)."""
    for digits in range(14, 3, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    msg = f"{value!r} has no decimal string of 16 characters"
    raise ValueError(msg)


def write_series(
    folder: Path, datasets: Sequence[Dataset], *, transfer_syntax: str = ExplicitVRLittleEndian, stem: str = "",
) -> list[Path]:
    """Write each data set as one PS3.10 file, native or compressed as ``transfer_syntax`` says; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}{index:04d}.dcm" for index in range(len(datasets))]
    for path, built in zip(paths, datasets, strict=True):
        write_file(path, built, transfer_syntax=transfer_syntax)
    return paths


def write_file(path: Path, built: Dataset, *, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write one data set as a PS3.10 file; the data set itself is not changed."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = built.get("SOPClassUID") or CTImageStorage
    meta.MediaStorageSOPInstanceUID = built.get("SOPInstanceUID") or "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if transfer_syntax not in NATIVE else transfer_syntax
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    copy = Dataset({element.tag: element for element in built})
    copy.file_meta = meta
    if "PixelData" in built:
        pixels = built.PixelData
        if transfer_syntax == ExplicitVRBigEndian:
            pixels = np.frombuffer(pixels, "<u2").astype(">u2").tobytes()
        copy.add_new("PixelData", "OW", pixels)
    if transfer_syntax not in NATIVE:
        copy.compress(transfer_syntax, generate_instance_uid=False)
    dcmwrite(path, copy, enforce_file_format=True)
    return path
