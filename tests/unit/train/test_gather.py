"""Folders of DICOM and annotations become data sets: to the voxel, under pseudonyms, or left out with a reason."""

from __future__ import annotations

import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RTStructureSetStorage

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import InputRole, ModelFile
from dicomnode.encode.seg import encode_seg
from dicomnode.encode.sr import encode_reports
from dicomnode.errors import UnusableDataset
from dicomnode.train.dataset.gather import Gathered, Wishes, gather
from dicomnode.train.dataset.gather_channels import Channel
from dicomnode.train.dataset.gather_labels import LabelRule
from dicomnode.train.dataset.pseudonyms import Pseudonyms
from dicomnode.train.dataset.reader import read_dataset
from tests.builders import affine_lps, ct_series, dataset, enhanced_ct, mr_series, uid_of, write_file, write_series
from tests.findings import HEART, LEFT_KIDNEY, LUNG, NODULE, block, findings, stack_of, stamp
from tests.shared import shared_data

SHAPE = (6, 16, 20)
TO_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))
FINDINGS = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
LESIONS = (block(SHAPE, slice(1, 3), slice(3, 7), slice(4, 9)), block(SHAPE, slice(3, 5), slice(9, 12), slice(12, 15)))


def organs():
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:5, 2:14, 2:10] = 1
    mask[2:4, 5:9, 12:18] = 3
    return mask


def a_series(name, *, modality=ct_series, **changes: object):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    own = {"PatientID": f"ID-{name}", "PatientName": f"Doe^{name}", **changes}
    return modality(rng.integers(0, 900, SHAPE, dtype=np.int16), seed=name, **own)


def pixels(series):
    return np.stack([np.frombuffer(one.PixelData, "<i2").reshape(SHAPE[1:]) for one in series])


def with_results(folder, name, *, lesions=LESIONS, **changes: object):
    """Write a series and the node's own results for it; return its label map."""
    series = a_series(name, **changes)
    write_series(folder / name / "ct", series)
    made = findings(stack_of(series), organs(), lesions=lesions)
    mark, sources = stamp(job_key=name), {stack_of(series).series_uid: series}
    seg = encode_seg(made, series, mark)
    for number, one in enumerate((seg, *encode_reports([made], sources, mark, [seg]))):
        (folder / name / f"result{number}.dcm").write_bytes(one.payload)
    return made.segmentation.mask_zyx


def with_mask(folder, name, mask, file="mask.nii.gz", **changes: object):
    series = a_series(name, **changes)
    write_series(folder / name / "ct", series)
    affine = TO_RAS @ stack_of(series).affine_lps_mm[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(mask.transpose(2, 1, 0), affine), folder / name / file)
    return series


def built(tmp_path: Path, **wishes: object) -> Gathered:
    own = {"source": tmp_path / "src", "out": tmp_path / "out", "name": "d", "key": b"k" * 32, **wishes}
    return gather(Wishes(**own))


def stored(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0)


def reasons(gathered: Gathered) -> str:
    return "\n".join(f"{what}: {why}" for what, why in gathered.left_out)


def test_the_nodes_own_results_become_the_masks_that_they_came_from(tmp_path):
    truth = {name: with_results(tmp_path / "src", name) for name in ("a", "b", "c")}
    gathered = built(tmp_path)
    found = read_dataset(tmp_path / "out")
    assert [(label.name, label.value, label.lesion) for label in found.labels] == [
        ("Lung", 1, False), ("Heart", 2, False), ("Nodule", 3, True)]
    renumbered = np.array([0, 1, 3, 2])[truth["a"]]
    assert all(np.array_equal(stored(case.label), renumbered) for _, case in found.cases)
    assert found.labels[2].type == NODULE.type
    assert gathered.left_out == []
    images = {stored(case.images[0]).tobytes() for _, case in found.cases}
    assert images == {(pixels(a_series(name)) - 1024).tobytes() for name in truth}


def test_findings_become_boxes_to_a_tenth_of_a_millimetre(tmp_path):
    with_results(tmp_path / "src", "a")
    built(tmp_path, task="detection")
    (case,) = read_dataset(tmp_path / "out").training
    stack = stack_of(a_series("a"))
    expected = []
    for lesion in LESIONS:
        low, high = np.argwhere(lesion).min(axis=0) - 0.5, np.argwhere(lesion).max(axis=0) + 0.5
        ends = np.array([stack.to_lps_mm(low), stack.to_lps_mm(high)])
        expected.append([*ends.mean(axis=0), *np.ptp(ends, axis=0)])
    assert np.abs(case.boxes_lps_mm - expected).max() < 0.1
    assert case.box_labels == (0, 0)


def test_without_a_segmentation_the_report_alone_says_where_findings_are(tmp_path):
    with_results(tmp_path / "src", "a")
    (tmp_path / "src" / "a" / "result0.dcm").unlink()
    built(tmp_path, task="detection")
    (case,) = read_dataset(tmp_path / "out").training
    assert case.boxes_lps_mm.shape == (2, 6)
    assert np.allclose(case.boxes_lps_mm[0, 3:], (5, 4, 6.5))


def test_no_name_number_or_uid_of_a_patient_is_in_the_data_set(tmp_path):
    with_results(tmp_path / "src", "a")
    with_mask(tmp_path / "src", "lost", organs(), ImagePositionPatient=lambda k: [0, 0, 3 * k + 9 * (k > 2)])
    (tmp_path / "src" / "Doe-scan.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00")
    (tmp_path / "src" / "lost" / "ct" / "0001.dcm").rename(tmp_path / "src" / "lost" / "ct" / "Doe.dcm")
    gathered = built(tmp_path)
    study = a_series("a")[0]
    texts = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    for secret in ("Doe", "ID-a", study.StudyInstanceUID, study.SeriesInstanceUID, "2.25.", "lost"):
        assert not [text for text in texts if secret.encode() in text], secret
    assert "MissingSlices" in reasons(gathered)
    assert "Doe-scan.dcm: CannotUnderstand: Doe-scan.dcm: " in reasons(gathered)
    assert a_series("lost")[0].SeriesInstanceUID in reasons(gathered)


def test_sentences_lose_their_uids_and_nothing_else():
    names = Pseudonyms(b"k" * 32)
    text = "series 3 (…12345678, MR) of 1.2.840.10008.5.1.4 and 2.25.330477 has gaps of 2.5 mm and 12.50 mm"
    found = names.without_uids(text)
    first, second = names.of("uid", "1.2.840.10008.5.1.4"), names.of("uid", "2.25.330477")
    assert found == f"series 3 (…, MR) of {first} and {second} has gaps of 2.5 mm and 12.50 mm"


def test_the_same_key_gives_the_same_data_set_and_another_key_other_names(tmp_path):
    with_results(tmp_path / "src", "a")
    digests = [built(tmp_path, out=tmp_path / out, key=key).dataset.digest
               for out, key in (("one", b"1" * 32), ("two", b"1" * 32), ("three", b"2" * 32))]
    assert digests[0] == digests[1] != digests[2]


def test_all_series_of_a_patient_go_into_one_split(tmp_path):
    for name in ("a", "b", "c", "d"):
        with_mask(tmp_path / "src", name, organs(), PatientID="same", IssuerOfPatientID=name)
    for name in ("e", "f"):
        with_mask(tmp_path / "src", name, organs())
    found = built(tmp_path, shares=(50, 25, 25)).dataset
    assert sorted(len(found.split(name)) for name in ("training", "validation", "test")) == [1, 1, 4]


@pytest.mark.parametrize("file", ["mask.nii.gz", "ct_seg.nii.gz", "../a.nii.gz", "../A_mask.nii", "ID-a.nii.gz",
                                  "SERIES-label.nii"])
def test_a_mask_finds_its_series_by_folder_name_patient_or_uid(tmp_path, file):
    with_mask(tmp_path / "src", "b", organs())
    uid = a_series("a")[0].SeriesInstanceUID
    with_mask(tmp_path / "src", "a", organs(), file.replace("SERIES", uid))
    assert len(list(built(tmp_path).dataset.cases)) == 2


def test_a_mask_that_could_belong_to_two_series_asks_for_pairs(tmp_path):
    source = tmp_path / "src"
    with_mask(source, "a", organs())
    write_series(source / "a" / "other", a_series("a2", StudyInstanceUID=a_series("a")[0].StudyInstanceUID))
    with pytest.raises(UnusableDataset, match="2 could be meant"):
        built(tmp_path)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("mask,series\na/mask.nii.gz,a/ct\n")
    assert len(list(built(tmp_path, pairs=pairs).dataset.cases)) == 1


@pytest.mark.parametrize(("text", "says"), [
    ("mask,series\nnone.nii,a/ct\n", "is not below the source folder"),
    ("mask,series\na/mask.nii.gz,nowhere\n", "0 series are meant"),
    ("file,series\nx,y\n", "mask and series are needed"),
])
def test_pairs_that_name_nothing_are_refused(tmp_path, text, says):
    with_mask(tmp_path / "src", "a", organs())
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(UnusableDataset, match=says):
        built(tmp_path, pairs=tmp_path / "pairs.csv")


def test_labels_are_chosen_by_name_code_or_value(tmp_path):
    with_results(tmp_path / "src", "a")
    with_mask(tmp_path / "src", "b", organs())
    rules = [LabelRule.parse(text) for text in ("Cor=1:80891009|#3", "Lesion=2!:nod*")]
    gathered = built(tmp_path, labels=rules)
    cases = {len(case.voxels): case for _, case in gathered.dataset.cases}
    heart = int((organs() == 3).sum())
    assert dict(cases[1].voxels) == {1: heart}
    assert cases[2].voxels[2] == sum(int(one.sum()) for one in LESIONS)
    assert gathered.passed_over == ("Lung", "value 1")
    assert [label.lesion for label in gathered.dataset.labels] == [False, True]
    assert [label.type for label in gathered.dataset.labels] == [HEART.type, NODULE.type]


def test_a_label_of_structures_with_different_codes_has_none(tmp_path):
    with_results(tmp_path / "src", "a")
    found = built(tmp_path, labels=[LabelRule.parse("Chest=1:lung|heart")]).dataset
    assert found.labels[0].type is None


@pytest.mark.parametrize(("identity", "says"), [("", "2 series have no PatientID"), ("ANON", "count as one patient")])
def test_patients_that_cannot_be_told_apart_are_warned_of(tmp_path, identity, says):
    for name in ("a", "b"):
        with_mask(tmp_path / "src", name, organs(), PatientID=identity)
    assert says in built(tmp_path).warnings[0]


def test_an_enhanced_image_is_a_series_like_any_other(tmp_path):
    hu = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    image = enhanced_ct(hu, order=[3, 1, 0, 2, 5, 4])
    (tmp_path / "src").mkdir()
    write_file(tmp_path / "src" / "image.dcm", image)
    seg = encode_seg(findings(stack_of([image]), organs()), [image], stamp())
    (tmp_path / "src" / "seg.dcm").write_bytes(seg.payload)
    (case,) = built(tmp_path).dataset.training
    assert np.array_equal(stored(case.images[0]), hu)
    assert np.array_equal(stored(case.label), np.array([0, 1, 0, 2])[organs()])


@pytest.mark.parametrize("text", ["Lung", "Lung=0", "Lung=x", "=1"])
def test_a_label_that_is_none_is_refused(text):
    with pytest.raises(UnusableDataset, match="allowed is NAME=VALUE"):
        LabelRule.parse(text)


def test_labels_that_nobody_marked_say_what_was_marked(tmp_path):
    with_results(tmp_path / "src", "a")
    with pytest.raises(UnusableDataset, match="marked and not asked for: Heart, Lung, Nodule"):
        built(tmp_path, labels=[LabelRule.parse("Spleen=1")])


def test_two_labels_of_one_value_are_refused(tmp_path):
    with_mask(tmp_path / "src", "a", organs())
    with pytest.raises(UnusableDataset, match="twice"):
        built(tmp_path, labels=[LabelRule.parse("A=1"), LabelRule.parse("B=1")])


def test_where_labels_meet_the_higher_value_stays_and_is_noted(tmp_path):
    with_mask(tmp_path / "src", "a", organs())
    series = a_series("a")
    affine = TO_RAS @ stack_of(series).affine_lps_mm[:, [2, 1, 0, 3]]
    spot = np.zeros(SHAPE, np.uint8)
    spot[2, 3:5, 3:5] = 7
    nibabel.save(nibabel.Nifti1Image(spot.transpose(2, 1, 0), affine), tmp_path / "src" / "a" / "spot.nii.gz")
    rules = [LabelRule.parse("Organ=1:#1|#3"), LabelRule.parse("Spot=5:#7")]
    gathered = built(tmp_path, labels=rules)
    (case,) = gathered.dataset.training
    assert case.voxels[5] == 4
    assert gathered.notes[case.id] == ("4 voxels have two labels (Organ and Spot): the higher value stays",)


def a_model(*roles: InputRole, labels=(LUNG, HEART)) -> ModelFile:
    return ModelFile(name="m", task="segmentation", bundle="b", digest="sha256:" + "0" * 64, intended_use="-",
                     inputs=roles, labels=labels)


def test_a_model_file_chooses_series_and_labels_as_the_node_would(tmp_path):
    with_results(tmp_path / "src", "a")
    with_results(tmp_path / "src", "thick", affine=affine_lps(spacing_zyx_mm=(9, 1, 1)))
    role = InputRole(role="chest", spacing_mm=InputRole(role="x").spacing_mm.__class__(max_between_slices=5))
    gathered = built(tmp_path, model=a_model(role))
    (case,) = gathered.dataset.training
    assert gathered.dataset.channels == ("chest",)
    assert case.voxels.keys() == {1, 3}
    assert "9.00 mm between slices, wanted at most 5" in reasons(gathered)


@pytest.mark.parametrize(("roles", "says"), [
    (("t1", "t2"), ""), (("t1", "t2", "flair"), "no series for flair"), (("t1",), "Modality is MR, wanted CT")])
def test_a_model_of_several_inputs_binds_its_series(tmp_path, roles, says):
    mr_study(tmp_path / "src", "a")
    whens = {"t1": "T1 axial", "t2": "T2 axial", "flair": "FLAIR"}
    inputs = [InputRole(role=role, modality="MR" if len(roles) > 1 else "CT", required=role != "flair",
                        when={"SeriesDescription": (whens[role],)}) for role in roles]
    wishes = {"model": a_model(*inputs), "labels": [LabelRule.parse("Organ=1:#1|#3")]}
    if says:
        with pytest.raises(UnusableDataset, match=says):
            built(tmp_path, **wishes)
    else:
        assert built(tmp_path, **wishes).dataset.channels == roles


def mr_study(folder, name, *, order=("T2 axial", "T1 axial"), **of_second: object):
    study = uid_of(name, "study")
    frame = uid_of(name, "frame")
    shared = {"StudyInstanceUID": study, "FrameOfReferenceUID": frame, "PatientID": f"ID-{name}"}
    for number, text in enumerate(order):
        own = {**shared, "SeriesDescription": text, **(of_second if number else {})}
        series = a_series(f"{name}-{text}", modality=mr_series, **own)
        write_series(folder / name / f"s{number}", series)
        if not number:
            affine = TO_RAS @ stack_of(series).affine_lps_mm[:, [2, 1, 0, 3]]
            mask = nibabel.Nifti1Image(organs().transpose(2, 1, 0), affine)
            nibabel.save(mask, folder / name / "s0" / "truth.nii.gz")


MR_CHANNELS = (Channel.parse("t1:SeriesDescription=T1*"), Channel.parse("t2:SeriesDescription=t2*,Modality=MR"))


def test_series_become_channels_in_the_order_that_was_asked_for(tmp_path):
    mr_study(tmp_path / "src", "a")
    found = built(tmp_path, channels=MR_CHANNELS).dataset
    (case,) = found.training
    assert found.channels == ("t1", "t2")
    for path, text in zip(case.images, ("T1 axial", "T2 axial"), strict=True):
        assert np.array_equal(stored(path), pixels(a_series(f"a-{text}", modality=mr_series)))


def test_a_channel_whose_slices_run_the_other_way_is_turned(tmp_path):
    turned = affine_lps(row=(1, 0, 0), column=(0, -1, 0), origin_mm=(-32.0, -25.0, 110.0))
    mr_study(tmp_path / "src", "a", affine=turned)
    (case,) = built(tmp_path, channels=MR_CHANNELS).dataset.training
    original = pixels(a_series("a-T1 axial", modality=mr_series))
    assert np.array_equal(stored(case.images[0]), original[::-1, ::-1])


@pytest.mark.parametrize(("second", "says"), [
    ({"affine": affine_lps(origin_mm=(-31.5, -40, 100))}, "channel 't1': its grid is not that of the images"),
    ({"FrameOfReferenceUID": uid_of("other")}, "MixedFrameOfReference"),
    ({"SeriesDescription": "FLAIR"}, "0 series fit channel 't1'"),
    ({"SeriesDescription": "T2 again"}, "0 series fit channel 't1'"),
])
def test_a_study_whose_channels_do_not_fit_is_left_out(tmp_path, second, says):
    mr_study(tmp_path / "src", "a", **second)
    mr_study(tmp_path / "src", "b")
    gathered = built(tmp_path, channels=MR_CHANNELS)
    assert len(list(gathered.dataset.cases)) == 1
    assert says in reasons(gathered)


@pytest.mark.parametrize("text", ["t1", "t1:", "t1:T1", ":Modality=MR", "t1:Modaliti=MR"])
def test_a_channel_that_is_none_is_refused(text):
    with pytest.raises(UnusableDataset, match="--channel"):
        Channel.parse(text)


def test_everything_that_is_left_out_says_why(tmp_path):
    source = tmp_path / "src"
    with_mask(source, "good", organs())
    with_mask(source, "empty", np.zeros(SHAPE, np.uint8))
    write_series(source / "bare" / "ct", a_series("bare"))
    with_results(source, "alone")
    for path in (source / "alone" / "ct").iterdir():
        path.unlink()
    with_mask(source, "moved", organs())
    shifted = nibabel.load(source / "moved" / "mask.nii.gz")
    shifted.affine[0, 3] += 0.5
    nibabel.save(nibabel.Nifti1Image(np.asarray(shifted.dataobj), shifted.affine), source / "moved" / "mask.nii.gz")
    (source / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00")
    (source / "notes.txt").write_text("hello")
    gathered = built(tmp_path)
    told = reasons(gathered)
    assert len(list(gathered.dataset.cases)) == 1
    for what in ("nothing that was asked for is marked", "no annotation refers to it",
                 "its images are not here: it refers to series", "broken.dcm: CannotUnderstand",
                 "moved/mask.nii.gz: UnusableAnnotation: its grid is not"):
        assert what in told
    assert len(gathered.dataset.left_out) == len(gathered.left_out)


def test_a_case_with_half_its_truth_is_left_out(tmp_path):
    with_results(tmp_path / "src", "whole")
    with_results(tmp_path / "src", "half")
    (tmp_path / "src" / "half" / "more.nii.gz").write_bytes(b"nothing")
    gathered = built(tmp_path)
    assert len(list(gathered.dataset.cases)) == 1
    assert "would be learned as background" in reasons(gathered)


def test_a_data_set_that_lies_in_the_source_is_no_source(tmp_path):
    with_mask(tmp_path / "src", "a", organs())
    digests = [built(tmp_path, out=tmp_path / "src" / out).dataset.digest for out in ("one", "two")]
    assert digests[0] == digests[1]


def test_sides_are_told_apart_by_their_modifier(tmp_path):
    series = a_series("a")
    write_series(tmp_path / "src" / "a" / "ct", series)
    kidneys = np.zeros(SHAPE, np.uint8)
    kidneys[2:4, 3:6, 3:6], kidneys[2:4, 3:6, 12:16] = 4, 5
    right = replace(LEFT_KIDNEY, value=5, name="Right kidney",
                    modifier=Code(value="24028007", scheme="SCT", meaning="Right"))
    made = findings(stack_of(series), kidneys, labels=(LEFT_KIDNEY, right))
    (tmp_path / "src" / "a" / "seg.dcm").write_bytes(encode_seg(made, series, stamp()).payload)
    asked = (replace(right, value=1, name="Ren dexter"), replace(LEFT_KIDNEY, value=2, name="Ren sinister"))
    (case,) = built(tmp_path, model=a_model(InputRole(role="ct"), labels=asked)).dataset.training
    assert np.array_equal(stored(case.label), np.array([0, 0, 0, 0, 2, 1])[kidneys])


def test_series_without_marks_are_taken_where_wanted(tmp_path):
    with_mask(tmp_path / "src", "a", organs())
    write_series(tmp_path / "src" / "bare" / "ct", a_series("bare"))
    found = built(tmp_path, unmarked=True).dataset
    assert sorted(len(case.voxels) for _, case in found.cases) == [0, 2]


def test_an_image_that_is_there_twice_with_other_pixels_is_refused(tmp_path):
    with_mask(tmp_path / "src", "a", organs())
    write_file(tmp_path / "src" / "a" / "again.dcm", a_series("a", WindowCenter="41")[2])
    with pytest.raises(UnusableDataset, match="twice with different content"):
        built(tmp_path)


def test_the_same_file_twice_counts_once(tmp_path):
    with_mask(tmp_path / "src", "a", organs())
    write_file(tmp_path / "src" / "a" / "again.dcm", a_series("a")[2])
    assert len(list(built(tmp_path).dataset.cases)) == 1


def test_a_segmentation_that_names_no_series_is_matched_by_its_frame_of_reference(tmp_path):
    with_results(tmp_path / "src", "a")
    path = tmp_path / "src" / "a" / "result0.dcm"
    seg = dcmread(path)
    del seg.ReferencedSeriesSequence
    for groups in seg.PerFrameFunctionalGroupsSequence:
        del groups.DerivationImageSequence
    seg.save_as(path)
    assert len(list(built(tmp_path).dataset.cases)) == 1


def test_a_segmentation_that_names_images_alone_is_matched_by_them(tmp_path):
    with_results(tmp_path / "src", "a")
    path = tmp_path / "src" / "a" / "result0.dcm"
    seg = dcmread(path)
    del seg.ReferencedSeriesSequence
    seg.save_as(path)
    assert len(list(built(tmp_path).dataset.cases)) == 1


def test_a_segment_in_a_transfer_syntax_of_segments_alone_is_taken(tmp_path):
    others = shared_data("dicom_seg_sr_by_others")
    (tmp_path / "src").mkdir()
    for path in (others / "dcmqi" / "data" / "segmentations" / "ct-3slice").iterdir():
        shutil.copy(path, tmp_path / "src")
    shutil.copy(others / "pydicom-data" / "data_store" / "data" / "liver_deflate.dcm", tmp_path / "src")
    (case,) = built(tmp_path).dataset.training
    assert dict(case.voxels) == {1: 107098}


def test_a_folder_that_holds_something_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    with pytest.raises(UnusableDataset, match="is not empty"):
        built(tmp_path)


def test_a_folder_without_images_says_so(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "image").write_bytes(bytes(128) + b"DICM" + b"\x02\x00")
    with pytest.raises(UnusableDataset, match="no CT or MR image series") as refused:
        built(tmp_path)
    assert refused.value.problems[1].startswith("image: CannotUnderstand: ")


def test_tables_give_boxes_and_name_series_that_are_missing(tmp_path):
    source = tmp_path / "src"
    write_series(source / "a", a_series("a"))
    uid = a_series("a")[0].SeriesInstanceUID
    (source / "annotations.csv").write_text(
        f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{uid},-20,-30,104,6\n1.2.3,0,0,0,5\n")
    gathered = built(tmp_path, task="detection")
    (case,) = gathered.dataset.training
    assert case.boxes_lps_mm.tolist() == [[-20, -30, 104, 6, 6, 6]]
    assert gathered.dataset.labels[0].name == "finding"
    assert "series 1.2.3: its images are not here: a table names it" in reasons(gathered)


def test_each_component_of_a_mask_is_a_box_where_nothing_else_says_more(tmp_path):
    spots = sum(one.astype(np.uint8) for one in LESIONS)
    with_mask(tmp_path / "src", "a", spots)
    (case,) = built(tmp_path, task="detection", labels=[LabelRule.parse("Nodule=1!")]).dataset.training
    assert case.boxes_lps_mm[:, 3:].tolist() == [[5, 4, 4], [3, 3, 4]]


def test_a_lesion_that_two_readers_marked_counts_once(tmp_path):
    source = tmp_path / "src"
    write_series(source / "a", a_series("a"))
    uid = a_series("a")[0].SeriesInstanceUID
    (source / "annotations.csv").write_text(
        f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{uid},-20,-30,104,6\n{uid},-19.5,-30,104,6\n{uid},-26,-30,104,6\n")
    gathered = built(tmp_path, task="detection")
    (case,) = gathered.dataset.training
    assert case.boxes_lps_mm[:, 0].tolist() == [-20, -26]
    assert gathered.notes[case.id] == ("1 finding was marked twice and counts once",)


def test_a_table_of_classes_makes_a_data_set_for_classification(tmp_path):
    source = tmp_path / "src"
    lines = ["seriesuid,class"]
    for name, klass in (("a", "ill"), ("b", "well"), ("c", "ill")):
        write_series(source / name, a_series(name))
        lines.append(f"{a_series(name)[0].SeriesInstanceUID},{klass}")
    write_series(source / "d", a_series("d"))
    (source / "classes.csv").write_text("\n".join(lines))
    found = built(tmp_path, task="classification").dataset
    assert [label.name for label in found.labels] == ["ill", "well"]
    assert sorted(case.klass for _, case in read_dataset(tmp_path / "out").cases) == [0, 0, 1]


def test_contours_become_label_maps(tmp_path):
    series = a_series("a")
    stack = stack_of(series)
    write_series(tmp_path / "src" / "ct", series)
    corners = [(2.5, 3.5), (2.5, 9.5), (6.5, 9.5), (6.5, 3.5)]
    contour = dataset(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=[
        round(float(v), 4) for y, x in corners for v in stack.to_lps_mm((2, y, x))])
    study = dataset(ReferencedSOPInstanceUID=stack.study_uid, ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
                    RTReferencedSeriesSequence=[dataset(SeriesInstanceUID=stack.series_uid)])
    write_file(tmp_path / "src" / "rt.dcm", dataset(
        SOPClassUID=RTStructureSetStorage, SOPInstanceUID=uid_of("rt"), StudyInstanceUID=stack.study_uid,
        SeriesInstanceUID=uid_of("rt series"), Modality="RTSTRUCT", PatientID="ID-a",
        ReferencedFrameOfReferenceSequence=[dataset(
            FrameOfReferenceUID=stack.frame_of_reference_uid, RTReferencedStudySequence=[study])],
        StructureSetROISequence=[dataset(
            ROINumber=1, ROIName="Liver", ReferencedFrameOfReferenceUID=stack.frame_of_reference_uid)],
        ROIContourSequence=[dataset(ReferencedROINumber=1, ContourSequence=[contour])]))
    (case,) = built(tmp_path).dataset.training
    expected = np.zeros(SHAPE, np.uint8)
    expected[2, 3:7, 4:10] = 1
    assert np.array_equal(stored(case.label), expected)


def with_table(folder, text):
    """Write a series and a table in which SERIES stands for its UID."""
    write_series(folder / "a", a_series("a"))
    (folder / "table.csv").write_bytes(text.replace("SERIES", a_series("a")[0].SeriesInstanceUID).encode("latin-1"))


def test_series_of_another_modality_are_not_mixed_into_a_data_set(tmp_path):
    with_mask(tmp_path / "src", "a", organs())
    with_mask(tmp_path / "src", "b", organs(), modality=mr_series)
    gathered = built(tmp_path)
    (_, case), = gathered.dataset.cases
    assert (gathered.dataset.modality, case.images[0].name.split("_")[1]) == ("CT", "ct.nii.gz")
    assert "its images are MR, those of the cases before are CT" in reasons(gathered)


def test_a_mask_named_after_a_series_that_is_not_here_does_not_fall_to_one_whose_uid_is_shorter(tmp_path):
    uid = a_series("a")[0].SeriesInstanceUID
    (tmp_path / "src" / "masks").mkdir(parents=True)
    with_mask(tmp_path / "src", "a", organs(), f"../masks/{uid}7.nii.gz")
    with pytest.raises(UnusableDataset, match="0 could be meant"):
        built(tmp_path)


def test_a_finding_beside_the_images_leaves_its_series_out(tmp_path):
    with_table(tmp_path / "src", f"{FINDINGS}SERIES,-20,-30,104,6\nSERIES,900,0,104,6\n")
    with pytest.raises(UnusableDataset, match=r"at \[900\.0, 0\.0, 104\.0\] mm lies outside the images"):
        built(tmp_path, task="detection")


def test_a_table_with_a_mistake_stops_the_build_before_its_findings_become_background(tmp_path):
    with_table(tmp_path / "src", f"{FINDINGS}SERIES,-20,-30,104,6\nSERIES,1,,1,1\n")
    with pytest.raises(UnusableDataset, match=r"table\.csv: line 3: coordy = ''"):
        built(tmp_path, task="detection", unmarked=True, labels=[LabelRule.parse("finding=1!")])
    assert not (tmp_path / "out").exists()


def test_a_mask_that_fits_nowhere_leaves_no_series_among_the_unmarked(tmp_path):
    source = tmp_path / "src"
    with_mask(source, "a", organs())
    write_series(source / "a" / "other", a_series("a2", StudyInstanceUID=a_series("a")[0].StudyInstanceUID))
    with pytest.raises(UnusableDataset, match=r"learned as background; say it with --pairs.*a/mask\.nii\.gz"):
        built(tmp_path, unmarked=True)


@pytest.mark.parametrize(("rows", "says"), [
    ("SERIES,ill\nSERIES,well\n", "line 3: series .* has the class 'well', and 'ill' before"),
    ("SERIES,\n", "line 2: series .* has the class ''"),
])
def test_a_series_has_one_class(tmp_path, rows, says):
    with_table(tmp_path / "src", f"seriesuid,class\n{rows}")
    with pytest.raises(UnusableDataset, match=says):
        built(tmp_path, task="classification")


def test_a_table_of_classes_in_another_encoding_is_read_and_says_which_series_are_missing(tmp_path):
    with_table(tmp_path / "src", "seriesuid,class,seen by\nSERIES,ill,M\xfcller\n1.2.3,ill,x\n")
    gathered = built(tmp_path, task="classification")
    assert [label.name for label in gathered.dataset.labels] == ["ill"]
    assert "series 1.2.3: its images are not here: a table names it" in reasons(gathered)


def test_the_dataset_json_of_another_program_hides_nothing(tmp_path):
    with_mask(tmp_path / "src", "a", organs())
    (tmp_path / "src" / "dataset.json").write_text('{"channel_names": {"0": "CT"}}')
    assert len(list(built(tmp_path).dataset.cases)) == 1


@pytest.mark.parametrize(("wishes", "says"), [
    ({"name": "a b"}, "name 'a b'"), ({"shares": (float("nan"), 1, 1)}, "shares"),
    ({"splits": {"pffffffffff": "test"}}, "--keep-key must be the key that it was built with"),
])
def test_wishes_that_cannot_be_met_are_refused_before_anything_is_written(tmp_path, wishes, says):
    with_mask(tmp_path / "src", "a", organs())
    with pytest.raises(UnusableDataset, match=says):
        built(tmp_path, **wishes)
    assert not (tmp_path / "out").exists()


def test_of_several_masks_on_a_series_the_files_names_say_what_they_are(tmp_path):
    lung, heart = ((organs() == value).astype(np.uint8) for value in (1, 3))
    with_mask(tmp_path / "src", "a", lung, "lung.nii.gz")
    with_mask(tmp_path / "src", "a", heart, "heart_mask.nii.gz")
    for asked in ((), ("Lung=1",)):
        with pytest.raises(UnusableDataset, match="the value 1 stands in 2 masks without names"):
            built(tmp_path, labels=[LabelRule.parse(text) for text in asked])
    with_mask(tmp_path / "src", "b", heart, "heart.nii.gz")
    rules = [LabelRule.parse(text) for text in ("Lung=1", "Cor=2:heart")]
    found = built(tmp_path, labels=rules).dataset
    assert sorted(tuple(case.voxels.items()) for _, case in found.cases) == [
        ((1, int(lung.sum())), (2, int(heart.sum()))), ((2, int(heart.sum())),)]
    gathered = built(tmp_path, out=tmp_path / "lungs", labels=[LabelRule.parse("Lung=1:lung")])
    assert [dict(case.voxels) for _, case in gathered.dataset.cases] == [{1: int(lung.sum())}]
    assert gathered.passed_over == ("value 1",)
