"""Masks as dcmqi, highdicom and pydicom read them: each voxel where the model marked it, in patient millimetres."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pytest
from pydicom import dcmread

from tests.builders import dataset
from tests.conformance.cases import CASES
from tests.conformance.masks import drawn_on_sources, segmentations

TILTED = {"tilted CT", "three models on two series"}
"""dcmqi puts slices one above the other along their normal; a sheared stack is compared frame by frame alone."""


@pytest.mark.parametrize("case", [name for name in CASES if name not in TILTED])
def test_dcmqi_puts_every_segment_on_the_same_voxels_at_the_same_place(case, result_of, tmp_path):
    program = Path(sys.executable).parent / "segimage2itkimage"
    if not program.exists():
        pytest.skip("segimage2itkimage is not installed: pip install dcmqi")
    for count, (path, findings, expected) in enumerate(segmentations(result_of(case))):
        prefix = f"out{count}"
        done = subprocess.run(
            [str(program), "--inputDICOM", str(path), "--outputDirectory", str(tmp_path), "-t", "nii", "-p", prefix],
            capture_output=True, text=True, errors="replace", check=False, timeout=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        written = {path.name: nibabel.load(path) for path in tmp_path.glob(f"{prefix}-*.nii.gz")}
        for number, mask in expected.items():
            own = written.get(f"{prefix}-{number}.nii.gz") if len(written) == len(expected) \
                else written[f"{prefix}-1.nii.gz"]
            np.testing.assert_array_equal(placed(own, number, findings.stack), np.argwhere(mask))


def placed(image, number, stack):
    """Return the sorted (slice, row, column) of a segment's voxels, through patient millimetres.

    dcmqi writes a file for each segment of a binary SEG, and one for all of a label map; values are segment numbers.
    """
    index = index_of(image, np.argwhere(np.asarray(image.dataobj) == number), stack)
    return np.array(sorted(map(tuple, index)))


def index_of(image, voxels, stack):
    """Return the (slice, row, column) of voxels of a NIfTI image, through patient millimetres."""
    ras = nibabel.affines.apply_affine(image.affine, voxels)
    index = nibabel.affines.apply_affine(np.linalg.inv(stack.affine_lps_mm), ras * [-1, -1, 1])
    assert np.abs(index - np.rint(index)).max() < 0.01
    return np.rint(index).astype(int)


@pytest.mark.parametrize("case", ["axial CT", "oblique CT", "sagittal MR", "Enhanced CT"])
def test_dcmqi_reads_every_number_of_a_map_at_the_same_place(case, result_of, tmp_path):
    """From a copy that names an anatomy for its frames, which is optional: dcmqi 1.5.7 crashes where there is none."""
    program = Path(sys.executable).parent / "paramap2itkimage"
    if not program.exists():
        pytest.skip("paramap2itkimage is not installed: pip install dcmqi")
    made = result_of(case)
    copy = dcmread(next(path for path in made.paths if ".PM." in path.name))
    lung = dataset(CodeValue="39607008", CodingSchemeDesignator="SCT", CodeMeaning="Lung")
    copy.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [
        dataset(FrameLaterality="U", AnatomicRegionSequence=[lung])]
    copy.save_as(tmp_path / "map.dcm", enforce_file_format=True)
    done = subprocess.run(
        [str(program), "--inputDICOM", str(tmp_path / "map.dcm"), "--outputDirectory", str(tmp_path), "-t", "nii"],
        capture_output=True, text=True, errors="replace", check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    image = nibabel.load(next(tmp_path.glob("*pmap.nii.gz")))
    values, stack = np.asarray(image.dataobj), made.findings[0].stack
    z, y, x = index_of(image, np.argwhere(np.isfinite(values)), stack).T
    np.testing.assert_array_equal(made.findings[0].parametric.values_zyx[z, y, x], values.ravel())
    assert values.size == np.prod(stack.shape_zyx)


@pytest.mark.parametrize("case", CASES)
def test_highdicom_reads_every_frame_as_the_mask_on_the_source_that_it_names(case, result_of):
    shown = segmentations(result_of(case))
    assert {one.provenance.model_name for _, one, _ in shown} == {
        one.provenance.model_name for one in result_of(case).findings
        if one.segmentation is not None and one.segmentation.mask_zyx.any()}
    for path, findings, expected in shown:
        drawn = drawn_on_sources(path, findings, expected)
        for number, mask in expected.items():
            np.testing.assert_array_equal(drawn[number], mask)


def test_highdicom_gives_the_same_volume_at_the_same_place(result_of):
    path, findings, expected = segmentations(result_of("oblique CT"))[0]
    volume = hd.seg.segread(path).get_volume(combine_segments=True)
    places = nibabel.affines.apply_affine(volume.affine, np.argwhere(volume.array))
    index = np.rint(nibabel.affines.apply_affine(np.linalg.inv(findings.stack.affine_lps_mm), places)).astype(int)
    wanted = np.argwhere(np.any(list(expected.values()), axis=0))
    np.testing.assert_array_equal(np.array(sorted(map(tuple, index))), wanted)


@pytest.mark.parametrize("case", CASES)
def test_pydicom_and_highdicom_open_every_object(case, result_of):
    for one in result_of(case).objects:
        read = dcmread(BytesIO(one.payload))
        again = BytesIO()
        read.save_as(again, enforce_file_format=True)
        assert again.getvalue() == one.payload
        if "PixelData" in read or "FloatPixelData" in read:
            depth = [int(read.NumberOfFrames)] if read.get("NumberOfFrames", 1) > 1 else []
            assert read.pixel_array.shape[:len(depth) + 2] == (*depth, read.Rows, read.Columns)
        if one.kind == "SR3D":
            groups = hd.sr.srread(BytesIO(one.payload)).content
            assert groups.get_planar_roi_measurement_groups() or groups.get_volumetric_roi_measurement_groups() \
                or groups.get_image_measurement_groups()
