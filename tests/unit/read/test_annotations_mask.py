"""Masks in NIfTI and NRRD files land on the voxels that they were drawn on, or are refused."""

from __future__ import annotations

import bz2
import gzip

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from dicomnode.domain.model import InputRole
from dicomnode.errors import UnusableAnnotation
from dicomnode.read.annotations_csv import boxes_of_csv, is_box_table
from dicomnode.read.annotations_mask import is_mask_file, structures_of_mask
from dicomnode.read.nrrd import read_nrrd
from dicomnode.read.series import load
from tests.builders import affine_lps, ct_series, uid_of
from tests.findings import stack_of
from tests.shared import shared_data

SHAPE = (6, 10, 12)
STACK = stack_of(ct_series(np.zeros(SHAPE, np.int16)))
MASK = np.zeros(SHAPE, np.uint8)
MASK[1:4, 2:7, 3:9] = 1
MASK[2, 4:6, 5:7] = 4
TO_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))


def nifti(path, mask_zyx=MASK, *, stack=STACK, affine=None, dtype=np.uint8):
    """Write a mask as programs do: axes x, y, z; affine in RAS."""
    made = TO_RAS @ stack.affine_lps_mm[:, [2, 1, 0, 3]] if affine is None else affine
    image = nibabel.Nifti1Image(np.ascontiguousarray(mask_zyx.transpose(2, 1, 0)).astype(dtype), made)
    nibabel.save(image, path)
    return path


def found_in(path, stack=STACK):
    return {one.number: one.mask_zyx for one in structures_of_mask(path, stack)}


def same(found, mask=MASK):
    return found.keys() == set(np.unique(mask)) - {0} and all(
        np.array_equal(one, mask == value) for value, one in found.items())


@pytest.mark.parametrize(("name", "dtype"), [("m.nii.gz", np.uint8), ("m.nii", np.int16), ("f.nii", np.float32)])
def test_a_nifti_mask_comes_back(tmp_path, name, dtype):
    assert same(found_in(nifti(tmp_path / name, dtype=dtype)))


@pytest.mark.parametrize("changes", [{"row": (0, 1, 0), "column": (0, 0, -1)}, {"tilt_deg": 7.0},
                                     {"row": (0.8, 0.6, 0), "column": (-0.6, 0.8, 0)}])
def test_a_nifti_mask_of_an_oblique_or_tilted_series_comes_back(tmp_path, changes):
    stack = stack_of(ct_series(np.zeros(SHAPE, np.int16), affine=affine_lps(**changes)))
    assert same(found_in(nifti(tmp_path / "m.nii.gz", stack=stack), stack))


def test_a_mask_that_was_turned_to_canonical_axes_comes_back(tmp_path):
    plain = nibabel.load(nifti(tmp_path / "m.nii.gz"))
    nibabel.save(nibabel.as_closest_canonical(plain), tmp_path / "ras.nii.gz")
    assert not np.array_equal(nibabel.load(tmp_path / "ras.nii.gz").affine, plain.affine)
    assert same(found_in(tmp_path / "ras.nii.gz"))


@pytest.mark.parametrize(("change", "says"), [
    (lambda a: a @ np.diag((2.0, 2.0, 1.0, 1.0)), "nothing is resampled"),
    (lambda a: a + np.array([[0, 0, 0, 0.4]] + [[0] * 4] * 3), r"0\.40 voxels beside"),
])
def test_a_mask_on_another_grid_is_refused(tmp_path, change, says):
    affine = change(TO_RAS @ STACK.affine_lps_mm[:, [2, 1, 0, 3]])
    with pytest.raises(UnusableAnnotation, match=says):
        found_in(nifti(tmp_path / "m.nii", affine=affine))


@pytest.mark.parametrize(("values", "says"), [
    (MASK * 0.5, "no whole numbers"), (MASK * -1.0, "whole numbers of 0"), (MASK * np.nan, "whole numbers of 0"),
])
def test_values_that_are_no_labels_are_refused(tmp_path, values, says):
    with pytest.raises(UnusableAnnotation, match=says):
        found_in(nifti(tmp_path / "m.nii", values, dtype=np.float32))


def test_a_nifti_file_without_a_place_is_refused(tmp_path):
    path = nifti(tmp_path / "m.nii")
    header = bytearray(path.read_bytes())
    header[252:256] = bytes(4)  # qform_code and sform_code
    path.write_bytes(header)
    with pytest.raises(UnusableAnnotation, match="sform and qform"):
        found_in(path)


@pytest.mark.parametrize(("place", "byte"), [(40, 9), (70, 99), (344, 0), (110, 1)])
def test_a_damaged_nifti_header_is_refused(tmp_path, place, byte):
    path = nifti(tmp_path / "m.nii")
    content = bytearray(path.read_bytes())
    content[place] = byte
    path.write_bytes(content)
    with pytest.raises(UnusableAnnotation):
        found_in(path)


def test_a_file_that_is_no_nifti_is_refused(tmp_path):
    (tmp_path / "m.nii.gz").write_bytes(b"not gzip at all")
    with pytest.raises(UnusableAnnotation, match="no readable NIfTI"):
        found_in(tmp_path / "m.nii.gz")


def nrrd(path, values, encoding="gzip", extra="", space="left-posterior-superior", directions=None, kind="uchar"):
    """Write an attached NRRD; values with the fastest axis first."""
    data = values.tobytes(order="F")
    packed = {"gzip": gzip.compress, "bzip2": bz2.compress, "raw": bytes,
              "ascii": lambda _: " ".join(str(v) for v in values.ravel(order="F")).encode()}[encoding](data)
    affine = STACK.affine_lps_mm[:, [2, 1, 0, 3]]
    if space.startswith("right"):
        affine = TO_RAS @ affine
    listed = " ".join(f"({','.join(repr(float(v)) for v in affine[:3, axis])})" for axis in range(3))
    origin = ",".join(repr(float(v)) for v in affine[:3, 3])
    head = (f"NRRD0004\n# comment\ntype: {kind}\ndimension: {values.ndim}\nspace: {space}\n"
            f"sizes: {' '.join(str(n) for n in values.shape)}\nspace directions: {directions or ''}{listed}\n"
            f"endian: little\nencoding: {encoding}\nspace origin: ({origin})\n{extra}\n")
    path.write_bytes(head.encode() + packed)
    return path


@pytest.mark.parametrize("encoding", ["gzip", "bzip2", "raw", "ascii"])
@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior"])
def test_a_nrrd_mask_comes_back(tmp_path, encoding, space):
    assert same(found_in(nrrd(tmp_path / "m.nrrd", MASK.transpose(2, 1, 0), encoding, space=space)))


def test_a_slicer_segmentation_brings_names_codes_colours_and_overlap(tmp_path):
    layers = np.stack([MASK.transpose(2, 1, 0) > 0, MASK.transpose(2, 1, 0) == 4]).astype(np.uint8)
    tags = ("TerminologyEntry:Segmentation category~SCT^123037004^Anatomical Structure~SCT^39607008^Lung~^^"
            "~Anatomic codes~^^~^^|Other:x|")
    extra = (f"Segment0_Name:=Right lung\nSegment0_LabelValue:=1\nSegment0_Layer:=0\nSegment0_Tags:={tags}\n"
             "Segment0_Color:=0.5 0.25 1\nSegment1_Name:=Spot\nSegment1_LabelValue:=1\nSegment1_Layer:=1\n")
    path = nrrd(tmp_path / "s.seg.nrrd", layers, extra=extra, directions="none ")
    one, other = structures_of_mask(path, STACK)
    assert (one.name, one.type.value, one.category.value, one.colour_rgb) == (
        "Right lung", "39607008", "123037004", (128, 64, 255))
    assert np.array_equal(one.mask_zyx, MASK > 0)
    assert (other.name, other.type) == ("Spot", None)
    assert np.array_equal(other.mask_zyx, MASK == 4)


@pytest.mark.parametrize(("change", "says"), [
    (lambda b: b.replace(b"space: left-posterior-superior\n", b""), "where it lies"),
    (lambda b: b.replace(b"encoding: gzip", b"encoding: zstd"), "encoding 'zstd'"),
    (lambda b: b[:-30], "damaged"),
    (lambda b: b.replace(b"sizes: 12 10 6", b"sizes: 12 10 7"), "cut off"),
    (lambda b: b.replace(b"type: uchar", b"type: block"), "type 'block'"),
    (lambda b: b"x" + b, "NRRD000"),
    (lambda b: b.replace(b"endian: little", b"data file: ../../etc/passwd"), "same folder"),
])
def test_a_nrrd_that_cannot_be_trusted_is_refused(tmp_path, change, says):
    path = nrrd(tmp_path / "m.nrrd", MASK.transpose(2, 1, 0))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UnusableAnnotation, match=says):
        found_in(path)


def test_a_nrrd_header_with_its_data_beside_it_is_read(tmp_path):
    path = nrrd(tmp_path / "m.nrrd", MASK.transpose(2, 1, 0), "raw", extra="data file: m.raw\n")
    head, _, data = path.read_bytes().partition(b"\n\n")
    (tmp_path / "m.raw").write_bytes(data)
    (tmp_path / "m.nhdr").write_bytes(head + b"\n\n")
    assert same(found_in(tmp_path / "m.nhdr"))


def test_nrrd_files_of_others_are_read():
    for path in (shared_data("gt_pyradiomics") / "data").glob("brain*.nrrd"):
        assert read_nrrd(path).values.ndim == 3


def test_masks_are_known_by_their_names(tmp_path):
    assert [is_mask_file(tmp_path / name) for name in ("a.nii.gz", "B.NRRD", "c.seg.nrrd", "d.dcm", "e.csv")] == [
        True, True, True, False, False]


def test_a_table_of_findings_gives_cubes_and_boxes(tmp_path):
    path = tmp_path / "annotations.csv"
    path.write_text("seriesuid,coordX,coordY,coordZ,diameter_mm,label\n1.2.3,-10.5,20,30,5.5,Nodule\n1.2.4,1,2,3,4,\n")
    assert is_box_table(path)
    found = boxes_of_csv(path)
    assert found["1.2.3"][0].centre_lps_mm.tolist() == [-10.5, 20, 30]
    assert found["1.2.3"][0].size_lps_mm.tolist() == [5.5] * 3
    assert (found["1.2.3"][0].name, found["1.2.4"][0].name) == ("Nodule", "")
    sized = tmp_path / "sized.csv"
    sized.write_text("seriesuid,coordX,coordY,coordZ,sizeX_mm,sizeY_mm,sizeZ_mm\n1.2.3,0,0,0,1,2,3\n")
    assert boxes_of_csv(sized)["1.2.3"][0].size_lps_mm.tolist() == [1, 2, 3]


@pytest.mark.parametrize("row", ["1.2.3,x,0,0,5", "1.2.3,0,0,0,", "1.2.3,0,0,0,-5", "1.2.3,nan,0,0,5"])
def test_a_row_that_is_no_place_is_refused_with_its_line(tmp_path, row):
    path = tmp_path / "annotations.csv"
    path.write_text(f"seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2.3,0,0,0,5\n{row}\n")
    with pytest.raises(UnusableAnnotation, match="line 3"):
        boxes_of_csv(path)


def test_the_tables_of_luna16_are_read():
    path = shared_data("gt_luna16_froc") / "evaluationScript" / "annotations" / "annotations.csv"
    assert is_box_table(path)
    assert sum(len(boxes) for boxes in boxes_of_csv(path).values()) == 1186


def test_a_mask_made_by_others_programs_lies_on_its_organs(tmp_path):
    folder = shared_data("ct_totalsegmentator_example") / "tests" / "reference_files"
    paths = []
    for number, path in enumerate(sorted((folder / "example_ct_dicom").iterdir())):
        image = dcmread(path)  # its identity was removed; give it one
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = CTImageStorage
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid_of("example", number)
        image.SeriesInstanceUID, image.StudyInstanceUID = uid_of("example", "series"), uid_of("example", "study")
        image.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        paths.append(tmp_path / f"{number}.dcm")
    volume = load(paths, InputRole(role="ct")).volume
    organs = {one.number: volume.values_zyx[one.mask_zyx] for one in structures_of_mask(
        folder / "example_seg_dicom.nii.gz", volume.stack)}
    liver, vertebra = organs[5], organs[32]
    assert 60 < liver.mean() < 120
    assert liver.std() < 30
    assert vertebra.mean() > 200
