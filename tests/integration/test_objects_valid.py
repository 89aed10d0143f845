"""Results as other people's programs see them: dciodvfy, dcentvfy, dsrdump, dcmqi, highdicom, and our own rules."""

import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pytest
from pydicom import dcmread

from dicomnode.domain.dicom import COMPREHENSIVE_SR_STORAGE
from dicomnode.domain.findings import Classification, ModelFindings, NotAnalysed, Presence
from dicomnode.domain.settings import ClassLabel
from dicomnode.domain.volume import Volume
from dicomnode.encode.capture import encode_capture
from dicomnode.encode.seg import encode_seg
from dicomnode.encode.sr import encode_reports
from dicomnode.encode.text import encode_notice
from tests.builders import affine_lps, ct_series, enhanced_ct, mr_series, write_series
from tests.findings import LEFT_KIDNEY, block, findings, parsed, provenance, sct, stack_of, stamp
from tests.live import need
from tests.object_rules import broken_rules

SHAPE = (12, 24, 28)
OBLIQUE = affine_lps(row=(0.8, 0.6, 0), column=(0, 0, -1), spacing_zyx_mm=(3.0, 0.75, 0.6), origin_mm=(10, -60, 80))


def the_findings(series):
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:10, 3:20, 3:12] = 1
    mask[4:11, 3:18, 15:26] = LEFT_KIDNEY.value
    return findings(stack_of(series), mask, warnings=("uneven spacing",), lesions=[
        block(SHAPE, slice(5, 8), slice(6, 9), slice(5, 8)), block(SHAPE, slice(8, 9), slice(12, 15), slice(6, 10))])


def classes_of(found):
    """What a classification model gives for the same images."""
    presences = (Presence.PRESENT, Presence.ABSENT, Presence.UNDETERMINED)
    return ModelFindings(provenance=provenance("chest_classes"), stack=found.stack, classifications=tuple(
        Classification(of=ClassLabel(value=value, name=name, code=sct(code, name)), probability=0.9 - 0.3 * value,
                       presence=presence)
        for value, (name, code, presence) in enumerate(zip(
            ("Pleural effusion", "Pneumothorax", "Normal"), ("60046008", "36118008", "17621005"), presences,
            strict=True))))


def every_result(series):
    """Every kind of object that the node writes, once, as (kind, object)."""
    found = the_findings(series)
    uid, silent = found.stack.series_uid, replace(found, detections=(), lesion_zyx=None, organs=())
    marked, later = stamp(), stamp(job_key="later", language="zh-CN",
                                   predecessors=(f"{COMPREHENSIVE_SR_STORAGE}:2.25.31415",))
    seg = encode_seg(found, series, marked)
    volume = Volume(values_zyx=np.zeros(SHAPE, np.int16), stack=found.stack, modality=series[0].Modality)
    reason = NotAnalysed(reason="MissingSlices", text="gap of 7.0 mm after slice 12", study_uid=found.stack.study_uid)
    return [seg, *encode_reports([found], {uid: series}, marked, [seg]),
            *encode_reports([silent], {uid: series}, later, []), encode_notice(reason, series, later),
            *encode_reports([classes_of(found)], {uid: series}, stamp(job_key="classes", language="zh-CN"), []),
            encode_capture([found], {uid: volume}, {uid: series}, marked)]


SERIES = {
    "axial CT": lambda: ct_series(np.zeros(SHAPE)),
    "oblique CT": lambda: ct_series(np.zeros(SHAPE), affine=OBLIQUE),
    "tilted CT": lambda: ct_series(np.zeros(SHAPE), affine=affine_lps(tilt_deg=18.5)),
    "CT named in GB18030": lambda: _read_again(ct_series(
        np.zeros(SHAPE), SpecificCharacterSet="GB18030", PatientName="Wang^XiaoDong=王^小东",
        StudyDescription="胸部CT")),
    "MR": lambda: mr_series(np.zeros(SHAPE)),
    "Enhanced CT": lambda: [enhanced_ct(np.zeros(SHAPE), order=[*range(11, -1, -1)])],
    "MR without patient": lambda: mr_series(
        np.zeros(SHAPE), PatientID=None, PatientBirthDate=None, PatientSex=None, AccessionNumber=None, StudyID=None),
}


def _read_again(series):
    """As read from bytes: text is still encoded in the source's character set."""
    read = []
    for one in series:
        buffer = BytesIO()
        one.save_as(buffer, implicit_vr=False, little_endian=True)
        read.append(dcmread(BytesIO(buffer.getvalue()), force=True))
    return read


@pytest.fixture(params=list(SERIES))
def written(request, tmp_path):
    """A series' name, its data sets, its results, and the folder where both lie as files."""
    series = SERIES[request.param]()
    write_series(tmp_path, series, stem="source")
    results = every_result(series)
    for index, one in enumerate(results):
        (tmp_path / f"result{index}.{one.kind}.dcm").write_bytes(one.payload)
    return request.param, series, results, tmp_path


def run(*command: str):
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=120)


def test_dciodvfy_finds_no_error_in_any_object(written):
    program = need("dciodvfy", "dicom3tools")
    _, _, results, folder = written
    for path in sorted(folder.glob("result*.dcm")):
        done = run(program, str(path))
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Abort"))]
        assert not lines, (path.name, lines)
    assert len(results) == 12


def test_dsrdump_reads_every_report(written):
    program = need("dsrdump", "dcmtk")
    _, _, results, folder = written
    reports = [path for path in sorted(folder.glob("result*.dcm")) if "SR" in path.name or "TEXT" in path.name]
    assert len(reports) == len(results) - 2
    for path in reports:
        done = run(program, str(path))
        assert done.returncode == 0, done.stderr
        assert not [line for line in done.stderr.splitlines() if line.startswith(("E:", "F:"))]
        assert '<CONTAINER:(,,"' in done.stdout


@pytest.mark.parametrize("written", ["axial CT", "oblique CT", "tilted CT", "MR", "Enhanced CT"], indirect=True)
def test_dcentvfy_finds_one_patient_and_one_study_in_sources_and_results(written):
    """Not for a name in GB18030, since dcentvfy compares bytes, nor for absent attributes that results hold empty."""
    program = need("dcentvfy", "dicom3tools")
    _, _, _, folder = written
    done = run(program, *map(str, sorted(folder.glob("*.dcm"))))
    known = ("AccessionNumber", "DeviceUID", "0008,0050")
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert not [line for line in lines if not any(part in line for part in known)]


def test_our_own_rules_hold(written):
    name, series, results, _ = written
    sources = [_read_again([one])[0] if name == "CT named in GB18030" else one for one in series]
    assert broken_rules([parsed(one) for one in results], sources) == []


@pytest.mark.parametrize("name", ["axial CT", "oblique CT", "MR", "Enhanced CT"])
def test_dcmqi_puts_every_segment_on_the_same_voxels_at_the_same_place(name, tmp_path):
    program = Path(sys.executable).parent / "segimage2itkimage"
    if not program.exists():
        pytest.skip("segimage2itkimage is not installed: pip install dcmqi")
    series = SERIES[name]()
    found = the_findings(series)
    path = tmp_path / "seg.dcm"
    path.write_bytes(encode_seg(found, series, stamp()).payload)
    done = run(str(program), "--inputDICOM", str(path), "--outputDirectory", str(tmp_path), "-t", "nii", "-p", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    drawn = found.segmentation.mask_zyx
    expected = {1: drawn == 1, 2: drawn == LEFT_KIDNEY.value, 3: found.lesion_zyx == 1, 4: found.lesion_zyx == 2}
    for number, mask in expected.items():
        np.testing.assert_array_equal(voxels_of(tmp_path / f"out-{number}.nii.gz", found.stack), np.argwhere(mask))


def voxels_of(path, stack):
    """Return the sorted (slice, row, column) of a NIfTI mask's voxels, through patient millimetres."""
    image = nibabel.load(path)
    ras = nibabel.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj)))
    index = nibabel.affines.apply_affine(np.linalg.inv(stack.affine_lps_mm), ras * [-1, -1, 1])
    assert np.abs(index - np.rint(index)).max() < 0.01
    return np.array(sorted(map(tuple, np.rint(index).astype(int))))


def test_highdicoms_reader_gives_the_same_volume_at_the_same_place():
    series = SERIES["oblique CT"]()
    found = the_findings(series)
    seg = hd.seg.segread(BytesIO(encode_seg(found, series, stamp()).payload))
    volume = seg.get_volume(combine_segments=True)
    ours = found.stack.affine_lps_mm
    places = nibabel.affines.apply_affine(volume.affine, np.argwhere(volume.array))
    index = np.rint(nibabel.affines.apply_affine(np.linalg.inv(ours), places)).astype(int)
    expected = np.argwhere(found.segmentation.mask_zyx > 0)
    np.testing.assert_array_equal(np.array(sorted(map(tuple, index))), expected)
