"""Segmentations: seconds, bytes and memory to encode masks, by the node and by plain highdicom.

    python benchmarks/segmentation.py [--labels 1,5,104] [--slices 400] [--size 512] [--repeat 3] [--only 'NAME;...']

Ellipsoids are drawn into one label map; every row starts a process, draws the same map and turns it, with the headers
of its CT images, into bytes of DICOM files: creating and writing together. highdicom's rows are one constructor and
``save_as``; ours are ``encode_segs``, from the model's findings to what is stored. Every row's objects are then read by
pydicom, and all their voxels compared with the map. Wall and CPU seconds are medians of the repeats after the first;
memory is the largest resident size of the process. Drawing, headers and reading back are not in the seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import BytesIO

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, generate_uid

from dicomnode.domain.dicom import CT_IMAGE_STORAGE, Code, InstanceRef
from dicomnode.domain.findings import ModelFindings, Provenance, Segmentation
from dicomnode.domain.model import Label
from dicomnode.domain.volume import SlicePlane, SliceStack
from dicomnode.encode.seg import encode_segs
from dicomnode.encode.series import Stamp

CATEGORY = Code(value="91723000", scheme="SCT", meaning="Anatomical Structure")
TYPE = Code(value="10200004", scheme="SCT", meaning="Liver")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
SPACING_MM = (1.5, 0.7, 0.7)
Map = NDArray[np.uint8]
Encode = Callable[[], list[bytes]]
Prepare = Callable[[Map, int], Encode]


def main() -> None:
    """Run the benchmark and print its table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--labels", default="1,5,104")
    options.add_argument("--slices", type=int, default=400)
    options.add_argument("--size", type=int, default=512)
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--only", default="", help="names of rows, separated by semicolons")
    options.add_argument("--row", nargs=2, metavar=("NAME", "LABELS"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.row:
        print(json.dumps(_row(given.row[0], int(given.row[1]), given)))
        return
    print("| labels | row | objects | frames | MB | wall s | CPU s | peak MB |\n|---|---|---|---|---|---|---|---|")
    for labels in map(int, given.labels.split(",")):
        for name in filter(None, given.only.split(";")) if given.only else ROWS:
            command = [sys.executable, __file__, "--row", name, str(labels), "--slices", str(given.slices),
                       "--size", str(given.size), "--repeat", str(given.repeat)]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"| {labels} | {name} | {row['objects']} | {row['frames']} | {row['mb']:.2f} | {row['wall_s']:.2f} | "
                  f"{row['cpu_s']:.2f} | {row['peak_mb']:.0f} |", flush=True)


def _row(name: str, labels: int, given: argparse.Namespace) -> dict[str, float]:
    warnings.simplefilter("ignore")
    drawn = ellipsoids(labels, (given.slices, given.size, given.size))
    wall, cpu = [], []
    encode = ROWS[name](drawn, labels)
    for _ in range(given.repeat + 1):
        began, used = time.perf_counter(), time.process_time()
        files = encode()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    read = [dcmread(BytesIO(file)) for file in files]
    if not np.array_equal(_voxels(read, drawn.shape), drawn):
        raise SystemExit(f"{name}, {labels} labels: other voxels than were drawn")
    return {"objects": len(files), "frames": sum(int(one.NumberOfFrames) for one in read),
            "mb": sum(map(len, files)) / 1e6, "wall_s": statistics.median(wall[1:]),
            "cpu_s": statistics.median(cpu[1:]), "peak_mb": peak_mb}


def ellipsoids(labels: int, shape: tuple[int, int, int]) -> Map:
    """Draw so many ellipsoids, later over earlier ones."""
    drawn = np.zeros(shape, np.uint8)
    rng, size = np.random.default_rng(labels), np.array(shape)
    for value in range(1, labels + 1):
        centre, radius = rng.uniform(0.15 * size, 0.85 * size), rng.uniform(0.04 * size, 0.12 * size)
        part = tuple(slice(max(0, int(c - r)), int(c + r) + 2) for c, r in zip(centre, radius, strict=True))
        offsets = np.ogrid[tuple(slice(one.start, min(one.stop, n)) for one, n in zip(part, shape, strict=True))]
        inside = sum(((x - c) / r) ** 2 for x, c, r in zip(offsets, centre, radius, strict=True)) <= 1
        drawn[part][inside] = value
    return drawn


def _headers(shape: tuple[int, ...]) -> list[Dataset]:
    study, series, frame, images = (_uid(what) for what in ("study", "series", "frame", "image"))
    found = []
    for k in range(shape[0]):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CT_IMAGE_STORAGE, f"{images}.{k + 1}"
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.Modality, image.Rows, image.Columns = "CT", shape[1], shape[2]
        image.PatientID, image.PatientName, image.PatientBirthDate, image.PatientSex = "1", "Bench^Mark", "", "O"
        image.AccessionNumber = image.StudyID = image.StudyDate = image.StudyTime = image.ReferringPhysicianName = ""
        image.PositionReferenceIndicator, image.SliceThickness = "", SPACING_MM[0]
        image.ImageOrientationPatient, image.PixelSpacing = [1, 0, 0, 0, 1, 0], list(SPACING_MM[1:])
        image.ImagePositionPatient = [0, 0, k * SPACING_MM[0]]
        found.append(image)
    return found


def _uid(what: str) -> str:
    return str(generate_uid(entropy_srcs=[what]))[:48].rstrip(".")


def _label(value: int) -> Label:
    return Label(value=value, name=f"structure {value}", category=CATEGORY, type=TYPE,
                 colour_rgb=(37 * value % 256, 91 * value % 256, 53 * value % 256))


def _plain(segmentation_type: str, transfer_syntax_uid: UID) -> Prepare:
    def prepare(drawn: Map, labels: int) -> Encode:
        headers = _headers(drawn.shape)
        descriptions = [hd.seg.SegmentDescription(
            segment_number=value, segment_label=f"structure {value}", algorithm_type="AUTOMATIC",
            segmented_property_category=hd.sr.CodedConcept(CATEGORY.value, CATEGORY.scheme, CATEGORY.meaning),
            segmented_property_type=hd.sr.CodedConcept(TYPE.value, TYPE.scheme, TYPE.meaning),
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                name="bench", family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"), version="1"),
            display_color=hd.color.CIELabColor.from_rgb(*_label(value).colour_rgb)) for value in range(1, labels + 1)]

        def encode() -> list[bytes]:
            made = hd.seg.Segmentation(
                source_images=headers, pixel_array=drawn, segmentation_type=segmentation_type,
                segment_descriptions=descriptions, series_instance_uid=generate_uid(), series_number=1,
                sop_instance_uid=generate_uid(), instance_number=1, manufacturer="m", manufacturer_model_name="m",
                software_versions="1", device_serial_number="1", omit_empty_frames=True,
                transfer_syntax_uid=transfer_syntax_uid)
            buffer = BytesIO()
            made.save_as(buffer)
            return [buffer.getvalue()]
        return encode
    return prepare


def _ours(kind: str) -> Prepare:
    def prepare(drawn: Map, labels: int) -> Encode:
        headers = _headers(drawn.shape)
        model = Provenance(model_name="bench", model_version="1", model_digest="sha256:" + "0" * 64, intended_use="x",
                           device_uid="2.25.1", node_version="1", content_time=NOW)
        stack = _stack(headers)
        mask = Segmentation(mask_zyx=drawn, stack=stack, labels=tuple(map(_label, range(1, labels + 1))))
        found = ModelFindings(provenance=model, stack=stack, segmentation=mask)
        stamp = Stamp(node_id=uuid.UUID(int=1), job_key="bench", content_time=NOW, provenance=(model,))
        sources, kinds = {stack.series_uid: headers}, frozenset({kind})
        return lambda: [one.payload for one in encode_segs([found], sources, stamp, kinds)]
    return prepare


def _stack(headers: Sequence[Dataset]) -> SliceStack:
    first = headers[0]
    return SliceStack(
        study_uid=first.StudyInstanceUID, series_uid=first.SeriesInstanceUID, rows=first.Rows, columns=first.Columns,
        frame_of_reference_uid=first.FrameOfReferenceUID, planes=tuple(SlicePlane(
            position_lps_mm=image.ImagePositionPatient, row_lps=(1, 0, 0), column_lps=(0, 1, 0),
            pixel_spacing_mm=SPACING_MM[1:], thickness_mm=SPACING_MM[0], frame=1,
            instance=InstanceRef(sop_class_uid=CT_IMAGE_STORAGE, sop_instance_uid=image.SOPInstanceUID))
            for image in headers))


ROWS: dict[str, Prepare] = {
    "highdicom BINARY": _plain("BINARY", ExplicitVRLittleEndian),
    "dicomnode BINARY": _ours("SEG"),
    "highdicom LABELMAP": _plain("LABELMAP", ExplicitVRLittleEndian),
    "highdicom LABELMAP RLE": _plain("LABELMAP", RLELossless),
    "dicomnode LABELMAP RLE": _ours("LABELMAP"),
}


def _voxels(read: Sequence[Dataset], shape: tuple[int, ...]) -> Map:
    """Return the label of each voxel as the objects say, by the position and the segment of each frame."""
    found = np.zeros(shape, np.uint8)
    for one in read:
        labels = {item.SegmentNumber: int(item.SegmentLabel.rpartition(" ")[2])
                  for item in one.SegmentSequence if item.SegmentLabel.startswith("structure")}
        shared = one.SharedFunctionalGroupsSequence[0].get("SegmentIdentificationSequence")
        for group, frame in zip(one.PerFrameFunctionalGroupsSequence, np.atleast_3d(one.pixel_array), strict=True):
            k = round(float(group.PlanePositionSequence[0].ImagePositionPatient[2]) / SPACING_MM[0])
            if one.SegmentationType == "LABELMAP":
                found[k] = frame
            else:
                number = group.get("SegmentIdentificationSequence", shared)[0].ReferencedSegmentNumber
                found[k][frame > 0] = labels[number]
    return found


if __name__ == "__main__":
    main()
