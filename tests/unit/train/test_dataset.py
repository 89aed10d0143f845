"""A data set is written case by case, read back whole, and refused for every byte that is not as it was made."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.data import load_decathlon_datalist

from dicomnode.domain.dicom import Code
from dicomnode.errors import UnusableDataset
from dicomnode.train.dataset.reader import DatasetLabel, DatasetWriter, read_dataset
from dicomnode.train.dataset.split import patients_to_splits
from tests.builders import affine_lps

LUNG = DatasetLabel(value=1, name="Lung", type=Code(value="39607008", scheme="SCT", meaning="Lung"),
                    category=Code(value="91723000", scheme="SCT", meaning="Anatomical Structure"))
NODULE = DatasetLabel(value=2, name="Nodule", lesion=True, colour_rgb=(240, 90, 70))
HU = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 50


def a_writer(folder: Path, **other: object) -> DatasetWriter:
    return DatasetWriter(folder, **{"name": "chest", "task": "segmentation", "channels": ["ct"], "modality": "CT",
                                    "labels": [NODULE, LUNG], **other})


def a_mask() -> np.ndarray:
    mask = np.zeros(HU.shape, np.uint8)
    mask[1, 1:3] = 1
    mask[2, 2, 2] = 2
    return mask


def a_dataset(folder: Path, patients: int = 5) -> Path:
    writer = a_writer(folder)
    for number in range(patients):
        writer.add(id=f"c{number}", patient=f"p{number}", images_zyx=[HU + number], label_zyx=a_mask(),
                   affine_lps_mm=affine_lps(), group={"maker": "Phantom Works", "slice_mm": 2.0})
    writer.leave_out("series 1.2.3", "MissingSlices: gap of 4.0 mm")
    writer.close()
    return folder


def test_what_is_written_is_read_back(tmp_path):
    made = a_dataset(tmp_path / "d")
    found = read_dataset(made)
    assert [len(found.split(name)) for name in ("training", "validation", "test")] == [3, 1, 1]
    assert found.labels == (LUNG, NODULE)
    assert found.left_out[0].why.startswith("MissingSlices")
    case = found.training[0]
    assert dict(case.voxels) == {1: 12 - 0, 2: 1}
    assert case.group == {"maker": "Phantom Works", "slice_mm": 2.0}
    image = nibabel.load(case.images[0])
    assert image.get_data_dtype() == np.int16
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), HU + int(case.id[1:]))


def test_a_voxel_lies_in_the_file_where_it_lies_in_the_patient(tmp_path):
    affine = affine_lps(row=(0, 1, 0), column=(0, 0, -1), spacing_zyx_mm=(3, 1, 0.5))
    writer = a_writer(tmp_path / "d")
    case = writer.add(id="c", patient="p", images_zyx=[HU], label_zyx=a_mask(), affine_lps_mm=affine)
    z, y, x = 2, 3, 4
    image = nibabel.load(case.images[0])
    right, front, head, _ = image.affine @ (x, y, z, 1)
    assert np.allclose([-right, -front, head], (affine @ (z, y, x, 1))[:3], atol=1e-4)
    assert np.asarray(image.dataobj)[x, y, z] == HU[z, y, x]


def test_the_same_cases_make_the_same_bytes(tmp_path):
    one, other = read_dataset(a_dataset(tmp_path / "a")), read_dataset(a_dataset(tmp_path / "b"))
    assert one.digest == other.digest
    assert (tmp_path / "a/dataset.json").read_bytes() == (tmp_path / "b/dataset.json").read_bytes()


def test_monai_reads_the_data_list(tmp_path):
    made = a_dataset(tmp_path / "d")
    items = load_decathlon_datalist(str(made / "dataset.json"), data_list_key="validation")
    assert [Path(path).is_file() for path in (*items[0]["image"], items[0]["label"])] == [True, True]


def test_boxes_and_classes_come_back(tmp_path):
    writer = a_writer(tmp_path / "d", task="detection", labels=[NODULE])
    boxes = np.array([[10.25, -20.5, 30.125, 6, 6, 7.5]])
    writer.add(id="c1", patient="p1", images_zyx=[HU.astype(np.float32)], affine_lps_mm=affine_lps(),
               boxes_lps_mm=boxes, box_labels=[0], split="training")
    writer.add(id="c2", patient="p2", images_zyx=[HU], affine_lps_mm=affine_lps(), split="test")
    writer.close()
    found = read_dataset(tmp_path / "d")
    assert np.array_equal(found.training[0].boxes_lps_mm, boxes)
    assert found.items("test")[0]["box"].shape == (0, 6)
    assert found.unseen() == ()
    assert found.unseen("test") == (NODULE,)


def test_a_class_of_the_whole_image_comes_back(tmp_path):
    writer = a_writer(tmp_path / "d", task="classification")
    writer.add(id="c1", patient="p1", images_zyx=[HU], affine_lps_mm=affine_lps(), klass=1)
    writer.close()
    assert read_dataset(tmp_path / "d").items("training")[0]["class"] == 1


def test_a_changed_byte_names_the_file(tmp_path):
    made = a_dataset(tmp_path / "d")
    path = made / "labels" / "c2.nii.gz"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnusableDataset, match=r"labels/c2\.nii\.gz is not the file"):
        read_dataset(made)


def test_every_missing_file_is_named(tmp_path):
    made = a_dataset(tmp_path / "d")
    (made / "images/c1_ct.nii.gz").unlink()
    (made / "labels/c3.nii.gz").unlink()
    with pytest.raises(UnusableDataset) as refused:
        read_dataset(made, verify=False)
    assert len(refused.value.problems) == 2


def rewritten(made: Path, change: object) -> Path:
    document = json.loads((made / "dataset.json").read_text())
    change(document)
    (made / "dataset.json").write_text(json.dumps(document))
    return made


@pytest.mark.parametrize(("change", "says"), [
    (lambda d: d["training"][0]["group"].update(maker="Other"), "changed after"),
    (lambda d: d["labels"].pop(), r"values \[2\] without a name"),
    (lambda d: d["training"][0].update(image="../../etc/passwd"), "a path below the data set"),
    (lambda d: d["test"][0].update(patient=d["training"][0]["patient"]), "lies in test and training"),
    (lambda d: d["test"][0].update(id=d["training"][0]["id"]), "stands 2 times"),
    (lambda d: d["test"][0].update(image=[]), "allowed is a path"),
    (lambda d: d["channels"].append("t2"), "1 images; the channels"),
    (lambda d: d["test"][0].pop("label"), "segmentation needs one"),
    (lambda d: d.update(format="other/3"), "format = 'other/3'"),
    (lambda d: d.update(training="x"), "allowed is a list of cases"),
    (lambda d: d["training"].append(7), "a case is int"),
    (lambda d: d["test"][0].update(box=[[1, 2, 3, 0, 1, 1]], box_label=[0]), "above 0 mm"),
    (lambda d: d["test"][0].update(box=[[1, 2]], box_label=[5]), "six numbers"),
    (lambda d: d["labels"][0].update(value=0), "allowed are values above 0"),
    (lambda d: d["labels"][0].update(value=9), "different values in rising order"),
    (lambda d: d["labels"][0].update(colour_rgb=[1, 2, 300]), "three values of 0 to 255"),
    (lambda d: d["labels"][0].pop("name"), "labels: "),
    (lambda d: d.update(labels=[]), "at least one with value and name"),
    (lambda d: d.update(task="guess"), "task = 'guess'"),
    (lambda d: d.update(task="classification"), "classification needs one"),
    (lambda d: d["test"][0].update(id="../x"), "case id = '../x'"),
    (lambda d: d["test"][0].update(patient=7), "patient = 7"),
    (lambda d: d["test"][0].update({"class": 2}), "class = 2: allowed are 0 to 1"),
    (lambda d: d["test"][0].update(voxels={"x": 1}), "label value → number of voxels"),
    (lambda d: d["test"][0].update(box=[[0, 0, 0, 1, 1, 1]], box_label=[2]), r"box_label = \[2\]"),
    (lambda d: d["test"][0].update(box=[[0, 0, 0, 1, 1, 1]], box_label=[]), "1 boxes and 0 box_label"),
    (lambda d: d.update(training=[], validation=[], test=[]), "no case"),
    (lambda d: d.update(channels=5), "channels = 5: allowed is a list of names"),
    (lambda d: d.update(left_out=[None]), r"left_out = \[None\]: allowed is a list of objects"),
    (lambda d: d.update(files=[]), "files = "),
    (lambda d: d.update(made_by=None), "made_by = None"),
    (lambda d: d["test"][0].update(box_label=5), "box_label = 5: allowed is a list"),
    (lambda d: d["test"][0].update(voxels={"1": "b"}), "label value → number of voxels"),
    (lambda d: d["test"][0].update(group={"maker": [1]}), "allowed is name → text or number"),
])
def test_a_contradiction_is_refused_and_named(tmp_path, change, says):
    with pytest.raises(UnusableDataset, match=says):
        read_dataset(rewritten(a_dataset(tmp_path / "d"), change))


@pytest.mark.parametrize(("content", "says"), [(None, "cannot be read"), ("{", "no JSON"), ("[]", "format = 'list'")])
def test_a_folder_that_is_no_data_set_says_what_one_is(tmp_path, content, says):
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(UnusableDataset, match=says):
        read_dataset(tmp_path)


def test_a_file_that_is_no_image_is_named(tmp_path):
    made = a_dataset(tmp_path / "d")
    (made / "images/c0_ct.nii.gz").write_bytes(b"not an image")
    with pytest.raises(UnusableDataset, match=r"images/c0_ct\.nii\.gz: no readable NIfTI"):
        read_dataset(made, verify=False)


def test_labels_that_come_later_have_higher_values(tmp_path):
    writer = a_writer(tmp_path / "d", labels=[LUNG])
    writer.add_label(NODULE)
    with pytest.raises(UnusableDataset, match="is not above 2"):
        writer.add_label(LUNG)


@pytest.mark.parametrize("other", [{"name": "a b"}, {"channels": ["../ct"]}, {"task": "guess"}])
def test_names_that_cannot_be_files_are_refused(tmp_path, other):
    with pytest.raises(UnusableDataset):
        a_writer(tmp_path / "d", **other)


def test_files_on_different_grids_are_refused(tmp_path):
    made = a_dataset(tmp_path / "d")
    image = nibabel.load(made / "labels/c0.nii.gz")
    moved = image.affine.copy()
    moved[0, 3] += 1
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), moved), made / "labels/c0.nii.gz")
    with pytest.raises(UnusableDataset, match="not on the grid"):
        read_dataset(made, verify=False)


@pytest.mark.parametrize(("other", "says"), [
    ({"label_zyx": np.full(HU.shape, 3, np.uint8)}, r"values \[3\] without a name"),
    ({"label_zyx": np.zeros((1, 2, 3), np.uint8)}, "have shapes"),
    ({"label_zyx": None}, "segmentation needs one"),
    ({"label_zyx": np.full(HU.shape, -1, np.int16)}, "whole numbers"),
    ({"images_zyx": [HU, HU]}, "2 images"),
    ({"images_zyx": [np.full(HU.shape, np.nan, np.float32)]}, "not finite"),
    ({"id": "../x"}, "file name"),
    ({"id": "c0"}, "taken"),
    ({"split": "holdout"}, "allowed are training"),
    ({"boxes_lps_mm": np.ones((1, 6))}, "1 boxes and 0 classes"),
    ({"klass": 2}, "allowed are 0 to 1"),
])
def test_a_case_that_cannot_be_learned_from_is_refused(tmp_path, other, says):
    writer = a_writer(tmp_path / "d")
    case = {"id": "c1", "patient": "p", "images_zyx": [HU], "label_zyx": a_mask(), "affine_lps_mm": affine_lps()}
    writer.add(**{**case, "id": "c0"})
    with pytest.raises(UnusableDataset, match=says):
        writer.add(**{**case, **other})


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(UnusableDataset, match="not empty"):
        a_writer(tmp_path)


def test_a_data_set_without_cases_says_why(tmp_path):
    writer = a_writer(tmp_path / "d")
    writer.leave_out("series 1.2.3", "GantryTilt: leans")
    with pytest.raises(UnusableDataset, match="GantryTilt: leans"):
        writer.close()


def test_a_patient_goes_whole_into_one_split_and_the_seed_decides():
    cases = [(None, f"p{number % 20}") for number in range(60)]
    drawn = patients_to_splits(cases, 1, (70, 10, 20))
    assert sorted(drawn.values()) == ["test"] * 4 + ["training"] * 14 + ["validation"] * 2
    assert drawn == patients_to_splits(reversed(cases), 1, (0.7, 0.1, 0.2))
    assert drawn != patients_to_splits(cases, 2, (70, 10, 20))


def test_a_stated_split_takes_the_patients_other_cases_along():
    drawn = patients_to_splits([("test", "a"), (None, "a"), (None, "b")], 0, (1, 0, 0))
    assert drawn == {"a": "test", "b": "training"}


def test_a_patient_put_into_two_splits_is_refused():
    with pytest.raises(UnusableDataset, match="patient a is put into"):
        patients_to_splits([("test", "a"), ("training", "a")], 0, (1, 0, 0))


@pytest.mark.parametrize("shares", [(0, 0, 0), (1, -1, 1)])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(UnusableDataset, match="shares ="):
        patients_to_splits([(None, "a")], 0, shares)
