"""Traps of real archives, from the files to the objects that go back: treated right to the voxel, or refused."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from dicomnode.config import model_from_text
from dicomnode.domain.model import InputRole, ModelFile
from dicomnode.errors import DuplicatePositions, UndecodableText
from dicomnode.infer.pool import Pool
from dicomnode.run.analyse import Analysis, Identity, Task, analyse
from dicomnode.run.loop import utc_now
from tests.builders import ct_series, enhanced_ct, uid_of, write_file, write_series
from tests.findings import NODE_ID
from tests.live import need
from tests.threshold_bundles import threshold_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore:Invalid value for VR")]
RNG = np.random.default_rng(11)
NAME = "张^小东"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> ModelFile:
    folder = tmp_path_factory.mktemp("models")
    text = threshold_model(folder, "levels").read_text(encoding="utf-8")
    made = model_from_text(text, source="levels")
    labels = tuple(replace(label, lesion=False) for label in made.labels)
    return replace(made, labels=labels, bundle=f"{folder}/{made.bundle}")


@pytest.fixture(scope="module")
def pool():
    with Pool(Path("/"), device="cpu", threads=1) as pool:
        yield pool


def values(seed: int = 0) -> np.ndarray:
    """Air, and one block each of lung and nodule, elsewhere for each seed."""
    hu = RNG.integers(-1000, 100, (8, 24, 20))
    hu[2:6, 4 + seed:12 + seed, 5:15], hu[3:5, 6 + seed:9 + seed, 7:11] = 400, 900
    return hu


def analysed(pool: Pool, model: ModelFile, paths: list[Path], *, fallback: str = "", **role: str) -> Analysis:
    model = replace(model, inputs=(InputRole(role="ct", **role),))
    identity = Identity(node_id=NODE_ID, job_key="traps", charset_fallback=fallback)
    return analyse([Task(model=model, paths={"ct": paths})], pool, identity, clock=utc_now)


def objects(analysis: Analysis) -> dict[str, Dataset]:
    return {one.kind: dcmread(BytesIO(one.payload)) for one in analysis.objects}


def named(paths: list[Path], written: bytes) -> list[Path]:
    """Put these bytes where the builder wrote a name of as many letters N."""
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"N" * len(written), written))
    return paths


def chinese(folder: Path, written: bytes, **attributes: object) -> list[Path]:
    return named(write_series(folder, ct_series(values(), PatientName="N" * len(written), **attributes)), written)


def texts(item: Dataset) -> str:
    own = f"{item.get('TextValue', '')}\n"
    return own + "".join(map(texts, item.get("ContentSequence", [])))


@pytest.mark.parametrize(("written", "terms"), [
    (b"\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab ", ["", "ISO 2022 IR 58"]),
    (NAME.encode("gb18030") + b" ", "GB18030"), (f"{NAME} ".encode(), "ISO_IR 192"),
])
def test_a_spoilt_header_gives_results_with_the_patients_name_and_no_impossible_value(
    pool, model, tmp_path, written, terms,
):
    paths = chinese(tmp_path, written, SpecificCharacterSet=terms, PatientSex="U", PatientBirthDate="1960",
                    AccessionNumber=None, StudyID=None, ReferringPhysicianName=None)
    analysis = analysed(pool, model, paths)
    made = objects(analysis)
    assert {"SEG", "SR3D"} <= set(made)
    for one in made.values():
        assert (str(one.PatientName), one.PatientSex, one.PatientBirthDate, one.AccessionNumber) == (NAME, "", "", "")
        assert one.SpecificCharacterSet == "ISO_IR 192"
    assert set(analysis.notes) >= {
        "PatientSex holds no valid value: left empty (8 images)", "StudyID is absent: left empty (8 images)",
        "PatientBirthDate holds no valid value: left empty (8 images)"}
    assert not any(value in note for note in analysis.notes for value in (NAME, "1960", "PHANTOM-1"))


def test_a_chinese_name_without_character_set_holds_the_study_until_the_site_says_which(pool, model, tmp_path):
    written = NAME.encode("gb18030") + b" "
    paths = chinese(tmp_path, written, SpecificCharacterSet=None)
    with pytest.raises(UndecodableText, match=r"PatientName cannot be read.*charset_fallback") as held:
        analysed(pool, model, paths)
    assert NAME not in str(held.value)
    made = objects(analysed(pool, model, paths, fallback="GB18030"))
    assert {str(one.PatientName) for one in made.values()} == {NAME}


def test_an_accepted_result_of_a_spoilt_header_is_valid(pool, model, tmp_path):
    dciodvfy = need("dciodvfy", "dicom3tools")
    paths = write_series(tmp_path, ct_series(values(), PatientSex="U", PatientBirthDate="1960", PatientID=None,
                                             StudyTime="25", SliceThickness=None))
    for one in analysed(pool, model, paths).objects:
        out = tmp_path / f"{one.kind}.out"
        out.write_bytes(one.payload)
        done = subprocess.run([dciodvfy, out], capture_output=True, text=True, check=False)
        assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []


def test_results_of_one_of_several_phases_refer_to_its_images_alone(pool, model, tmp_path):
    phases = [values(number) for number in range(3)]
    paths = write_series(tmp_path, [
        image for number, hu in enumerate(phases)
        for image in ct_series(hu, AcquisitionNumber=number + 1, SOPInstanceUID=phase(number))])
    with pytest.raises(DuplicatePositions, match="AcquisitionNumber has 3 values"):
        analysed(pool, model, paths)
    made = objects(analysed(pool, model, paths, split_by="AcquisitionNumber", split_take="2"))
    seg = hd.seg.Segmentation.from_dataset(made["SEG"])
    found = seg.get_pixels_by_source_instance([uid_of("phase", 1, k) for k in range(8)],
                                              assert_missing_frames_are_empty=True) > 0
    np.testing.assert_array_equal(found[..., 0], (phases[1] >= 250) & (phases[1] < 700))
    referred = {str(image.ReferencedSOPInstanceUID) for series in seg.ReferencedSeriesSequence
                for image in series.ReferencedInstanceSequence}
    assert referred <= {uid_of("phase", 1, k) for k in range(8)}
    assert "3 stacks by AcquisitionNumber; the one with AcquisitionNumber = 2 was analysed (8 of 24 slices)" in \
        "".join(map(texts, made.values()))


def phase(number: int):
    return lambda k: uid_of("phase", number, k)


def test_results_of_one_stack_of_an_enhanced_image_refer_to_its_frames_alone(pool, model, tmp_path):
    stacks = [values(0), values(3)]
    built = enhanced_ct(np.concatenate(stacks))
    frames = built.PerFrameFunctionalGroupsSequence
    for index, frame in enumerate(frames):
        frame.FrameContentSequence[0].StackID = str(1 + index // 8)
        frame.PlanePositionSequence[0].ImagePositionPatient = \
            frames[index % 8].PlanePositionSequence[0].ImagePositionPatient
    path = write_file(tmp_path / "enhanced.dcm", built)
    made = objects(analysed(pool, model, [path], split_by="StackID", split_take="last"))
    seg = hd.seg.Segmentation.from_dataset(made["SEG"])
    found = seg.get_pixels_by_source_frame(built.SOPInstanceUID, list(range(9, 17)),
                                           assert_missing_frames_are_empty=True) > 0
    np.testing.assert_array_equal(found[..., 0], (stacks[1] >= 250) & (stacks[1] < 700))
