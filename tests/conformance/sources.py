"""Generated series for the matrix of cases: what scanners send, in geometry and in text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import EnhancedMRImageStorage

from tests.builders import affine_lps, ct_series, dataset, enhanced_ct, mr_series, uid_of, write_file

SHAPE = (12, 24, 28)
SAGITTAL = affine_lps(row=(0, 1, 0), column=(0, 0, -1), spacing_zyx_mm=(2.5, 0.9, 0.9), origin_mm=(-15, -12, 60))
CORONAL = affine_lps(row=(1, 0, 0), column=(0, 0, -1), spacing_zyx_mm=(3.0, 0.8, 0.7), origin_mm=(-12, 20, 55))
OBLIQUE = affine_lps(row=(0.8, 0.6, 0), column=(0, 0, -1), spacing_zyx_mm=(3.0, 0.75, 0.6), origin_mm=(10, -60, 80))
NO_PATIENT: dict[str, object] = dict.fromkeys(
    ("PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "ReferringPhysicianName"))
LOSSY = {
    "LossyImageCompression": lambda k: "01" if k == 7 else "00",
    "LossyImageCompressionRatio": lambda k: "12.5" if k == 7 else None,
    "LossyImageCompressionMethod": lambda k: "ISO_10918_1" if k == 7 else None,
}
MR_FRAME = {
    "FrameType": ["DERIVED", "PRIMARY", "VOLUME", "NONE"], "PixelPresentation": "MONOCHROME",
    "VolumetricProperties": "VOLUME", "VolumeBasedCalculationTechnique": "NONE", "ComplexImageComponent": "MAGNITUDE",
    "AcquisitionContrast": "T1",
}


def pixels(shape: tuple[int, ...] = SHAPE) -> NDArray[np.int16]:
    """Return values that differ everywhere, so that nothing counts as a constant slice."""
    return (np.arange(np.prod(shape)) * 37 % 400 - 100).astype(np.int16).reshape(shape)


def enhanced_mr(seed: str) -> Dataset:
    """Return one Enhanced MR Image whose frames run against the slices."""
    image = enhanced_ct(pixels() + 100, seed=seed, order=[*range(SHAPE[0] - 1, -1, -1)])
    image.SOPClassUID, image.Modality, image.BodyPartExamined = EnhancedMRImageStorage, "MR", "BRAIN"
    image.ImageType = MR_FRAME["FrameType"]
    shared = image.SharedFunctionalGroupsSequence[0]
    for keyword in ("CTImageFrameTypeSequence", "IrradiationEventIdentificationSequence"):
        delattr(shared, keyword)
    shared.MRImageFrameTypeSequence = [dataset(**MR_FRAME)]
    shared.PixelValueTransformationSequence = [dataset(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")]
    return image


def one_slice(seed: str) -> list[Dataset]:
    return ct_series(pixels((1, *SHAPE[1:])), seed=seed)


def named(charset: str | Sequence[str], name: str, **texts: object) -> Callable[[str], list[Dataset]]:
    """Return a maker of CT series whose texts are written in a character set."""
    return lambda seed: ct_series(pixels(), seed=seed, SpecificCharacterSet=charset, PatientName=name, **texts)


SERIES: dict[str, Callable[[str], Sequence[Dataset]]] = {
    "axial CT": lambda seed: ct_series(
        pixels(), seed=seed, IssuerOfPatientID="HOSPITAL", TimezoneOffsetFromUTC="+0800", InstitutionName="Ward 7"),
    "sagittal MR": lambda seed: mr_series(pixels() + 100, affine=SAGITTAL, seed=seed),
    "coronal CT": lambda seed: ct_series(pixels(), affine=CORONAL, seed=seed),
    "oblique CT": lambda seed: ct_series(pixels(), affine=OBLIQUE, seed=seed),
    "tilted CT": lambda seed: ct_series(pixels(), affine=affine_lps(tilt_deg=18.5), seed=seed),
    "one slice of CT": one_slice,
    "Enhanced CT": lambda seed: [enhanced_ct(pixels(), seed=seed, order=[*range(SHAPE[0] - 1, -1, -1)])],
    "Enhanced MR": lambda seed: [enhanced_mr(seed)],
    "name in GB18030": named("GB18030", "Wang^XiaoDong=王^小东", StudyDescription="胸部CT", InstitutionName="协和医院"),
    "name in UTF-8": named("ISO_IR 192", "Müller^Zoë=山田^太郎", StudyDescription="Thorax – größer"),
    "name in Japanese": named(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "name in Korean": named(["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "MR without patient": lambda seed: mr_series(pixels() + 100, seed=seed, **NO_PATIENT),
    "lossy CT": lambda seed: ct_series(pixels(), seed=seed, **LOSSY),
    "over-anonymised MR": lambda seed: mr_series(
        pixels() + 100, seed=seed, **NO_PATIENT, PatientName="", PatientAge=None, StudyDate="", StudyTime="",
        StudyDescription=None, PatientIdentityRemoved="YES", BodyPartExamined=None, AcquisitionNumber=None,
        FrameOfReferenceUID=uid_of(seed, "kept")),
}


def stored(name: str, folder: Path, seed: str = "") -> list[Path]:
    """Write a series of ``SERIES`` as files; series of one ``seed`` share study, patient and frame of reference."""
    folder.mkdir(parents=True, exist_ok=True)
    return [write_file(folder / f"source{index:03d}.dcm", one)
            for index, one in enumerate(SERIES[name](seed or name))]


def stored_again(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Write a second series of the same study, on the same planes."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for path in paths:
        image = dcmread(path)
        image.SeriesInstanceUID = uid_of(image.SeriesInstanceUID, "again")
        image.SOPInstanceUID, image.SeriesNumber = uid_of(image.SOPInstanceUID, "again"), 4
        copies.append(write_file(folder / path.name.replace("source", "source_b"), image))
    return copies
