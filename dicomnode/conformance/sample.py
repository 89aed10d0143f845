"""Two small studies with nothing in common, and what the node's own encoders write about them.

Whatever two sets of results share is fixed; what each has from its own images is copied.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from dicomnode.domain.dicom import COMPREHENSIVE_3D_SR_STORAGE, Code, InstanceRef
from dicomnode.domain.findings import EncodedObject, ModelFindings, NotAnalysed, Provenance
from dicomnode.domain.model import InputRole, Label, ModelFile, Outputs
from dicomnode.encode.series import Stamp
from dicomnode.infer.measure import model_findings
from dicomnode.infer.output import RawOutput
from dicomnode.read.series import LoadedSeries, load
from dicomnode.run.analyse import Identity, notice, take_back
from dicomnode.run.encoding import Material, encode_all

FOUND, NOTHING_FOUND, NOT_ANALYSED = "findings", "nothing found", "a reason not to be analysed"
REJECTED: Final = "results that a later analysis supersedes"
PEER: Final = "peer"
VARIANTS: Final = (0, 1)
PREDECESSORS: Final = ((), (f"{COMPREHENSIVE_3D_SR_STORAGE}:2.25.4711",))
"""The second study had results before: its images came late."""
ROLE: Final = InputRole(role="ct")
AIR_HU: Final = -900
TISSUE_HU: Final = 40

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
    "RescaleIntercept": ("-1000", "-3"), "RescaleType": ("HU", "US"), "LossyImageCompression": ("00", "00"),
    "WindowCenter": ("40", "50"), "WindowWidth": ("400", "350"),
}
"""Keyword → its value in each of the two studies."""
QUANTITIES: Final = ("probability", "uncertainty")
MODALITIES: Final = ("CT", "MR")
SOP_CLASSES: Final = (CTImageStorage, MRImageStorage)
SHAPES_ZYX: Final = ((6, 40, 48), (8, 56, 64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One study's results in one case, and what they were made from."""

    case: str
    objects: tuple[EncodedObject, ...]
    headers: tuple[Dataset, ...]
    model: ModelFile
    identity: Identity


def examples(variant: int, audiences: tuple[tuple[str, ...], ...], outputs: Outputs, *, language: str,
             rejecting: bool) -> tuple[Example, ...]:
    """Return the results of one of the two studies: with findings, with none, and not analysed.

    Parameters
    ----------
    audiences:
        The kinds of objects that each peer gets; of ``TAKES``.
    outputs:
        What the model files ask for besides.
    rejecting:
        Whether a peer is told which results a later analysis supersedes.
    """
    model = replace(a_model(variant), outputs=replace(outputs, quantity=QUANTITIES[variant]))
    identity = Identity(node_id=uuid.UUID(int=0xA0 + variant), job_key=f"example {variant}", language=language,
                        predecessors=PREDECESSORS[variant])
    at = datetime(2026, 3, 1, 8, 30, 15, tzinfo=UTC) + timedelta(days=40, minutes=7) * variant
    with TemporaryDirectory() as folder:
        paths = _write_study(Path(folder), variant)
        loaded = load(paths, ROLE)
        reason = NotAnalysed(reason=("MissingSlices", "GantryTilt")[variant], study_uid=loaded.volume.stack.study_uid,
                             text=("gap of 7.0 mm after slice 12", "tilt of 9.0 degrees")[variant])
        told = notice(reason, paths[:1], identity, clock=lambda: at)
        headers = tuple(dcmread(path, stop_before_pixels=True) for path in paths)
        cases = {case: encode_all(_material(loaded, model, identity, at, audiences, found=case == FOUND))
                 for case in (FOUND, NOTHING_FOUND)}
        cases[NOT_ANALYSED] = told
        if rejecting:
            sent = [InstanceRef(sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid)
                    for one in cases[FOUND]]
            cases[REJECTED] = tuple(take_back({PEER: sent}, paths[:1], identity, clock=lambda: at).values())
    return tuple(Example(case=case, objects=objects, headers=headers, model=model, identity=identity)
                 for case, objects in cases.items())


def a_model(variant: int) -> ModelFile:
    """Return the model file of one of the two studies."""
    def code(value: str, meaning: str) -> Code:
        return Code(value=value, scheme="SCT", meaning=meaning)

    structure = code("91723000", "Anatomical Structure"), code("85756007", "Tissue")
    abnormal = code("49755003", "Morphologically Abnormal Structure"), code("260787004", "Physical object")
    organs = ((("Lung", "39607008"),), (("Liver", "10200004"), ("Spleen", "78961009")))[variant]
    lesion = (("Nodule", "27925004"), ("Mass", "4147007"))[variant]
    labels = [Label(value=number, name=name, category=structure[variant], type=code(value, name),
                    colour_rgb=(10 * number, 90 + variant, 200), measure=("volume_ml", "mean_hu"))
              for number, (name, value) in enumerate(organs, start=1)]
    region = code(organs[0][1], organs[0][0])
    labels.append(Label(
        value=len(labels) + 1, name=lesion[0], category=abnormal[variant], type=code(lesion[1], lesion[0]),
        colour_rgb=(255, 170, variant), region=region, lesion=True))
    return ModelFile(
        name=f"example_{variant}", version=("1.0", "2.1")[variant], task="segmentation", bundle="example",
        digest="sha256:" + ("1a", "2b")[variant] * 32, intended_use=("Example only.", "A sample.")[variant],
        research=variant == 0, inputs=(ROLE,), labels=tuple(labels))


def _material(loaded: LoadedSeries, model: ModelFile, identity: Identity, at: datetime,
              audiences: tuple[tuple[str, ...], ...], *, found: bool) -> Material:
    provenance = Provenance(
        model_name=model.name, model_version=model.version, model_digest=model.digest, intended_use=model.intended_use,
        device_uid=f"2.25.{identity.node_id.int + 1}", node_version="", content_time=at, research=model.research)
    series_uid = loaded.volume.stack.series_uid
    labels = _labels(loaded.volume.stack.shape_zyx, len(model.labels)) if found else None
    findings = _findings(loaded, model, labels, provenance)
    return Material(
        findings=(findings,), models=(model,), audiences=audiences, volumes={series_uid: loaded.volume},
        sources={series_uid: loaded.sources},
        stamp=Stamp(node_id=identity.node_id, job_key=f"{identity.job_key} {found}", content_time=at,
                    provenance=(provenance,), language=identity.language, predecessors=identity.predecessors))


def _findings(loaded: LoadedSeries, model: ModelFile, labels: NDArray[np.uint8] | None, provenance: Provenance
              ) -> ModelFindings:
    empty = np.zeros(loaded.volume.stack.shape_zyx, np.uint8)
    output = RawOutput(labels_zyx=empty if labels is None else labels, seconds={}, peak_mb=0.0, device="cpu",
                       map_zyx=np.full(empty.shape, 0.01 * len(model.labels), np.float32))
    found = model_findings(model, loaded.volume, output, provenance=provenance,
                           tracking_uid=lambda name: _uid(provenance.model_name, name))
    return replace(found, detections=tuple(
        replace(one, probability=0.9 - one.number / 20) for one in found.detections))


def _labels(shape_zyx: tuple[int, int, int], lesion: int) -> NDArray[np.uint8]:
    """Return a label map: organs side by side, each of another outline, with a larger lesion than the one before."""
    labels = np.zeros(shape_zyx, np.uint8)
    for organ in range(1, lesion):
        left = 4 + 20 * (organ - 1)
        labels[1:-1, 6:-6, left:left + 18] = organ
        for step in range(1, lesion):
            labels[1:-1, 6:6 + 2 * step, left:left + 8 - 2 * step] = 0
        labels[2:4, 10:12 + organ, left + 4:left + 6 + organ] = lesion
    return labels


def _write_study(folder: Path, variant: int) -> Sequence[Path]:
    count, rows, columns = SHAPES_ZYX[variant]
    paths = []
    for index in range(count):
        image = Dataset()
        for keyword, values in HEADER.items():
            setattr(image, keyword, values[variant])
        image.Modality, image.Rows, image.Columns = MODALITIES[variant], rows, columns
        _identify(image, variant, index)
        image.ImagePositionPatient = [-15.0 + variant, -20.0 - variant, (2.0 + variant) * index * (-1) ** variant]
        image.PixelData = np.full((rows, columns), TISSUE_HU if index else AIR_HU, "<i2").tobytes()
        image["PixelData"].VR = "OW"
        paths.append(folder / f"{index}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def _identify(image: Dataset, variant: int, index: int) -> None:
    image.SOPClassUID, image.SOPInstanceUID = SOP_CLASSES[variant], _uid("image", variant, index)
    image.StudyInstanceUID, image.SeriesInstanceUID = _uid("study", variant), _uid("series", variant)
    image.FrameOfReferenceUID, image.InstanceNumber = _uid("frame", variant), index + 1 + 10 * variant
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _uid(*parts: object) -> str:
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, repr(parts)).int}"
