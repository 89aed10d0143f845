"""From a case on disk to its scores, on cases worked out by hand; no network runs."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from dicomnode.domain.condition import Condition
from dicomnode.domain.dicom import Code
from dicomnode.domain.findings import Provenance
from dicomnode.domain.model import ClassLabel, InputRole, Label, Limits, ModelFile, Range, SpacingLimits
from dicomnode.domain.settings import QualitySettings
from dicomnode.errors import UnusableDataset
from dicomnode.infer.measure import model_findings
from dicomnode.infer.output import RawBox, RawOutput
from dicomnode.train.dataset.reader import DatasetLabel, DatasetWriter
from dicomnode.train.evaluate.runner import fit_to_score
from dicomnode.train.score.case_image import read_case
from dicomnode.train.score.case_scores import score_case
from dicomnode.train.score.label_match import NO_PARTNER, matched
from dicomnode.train.score.lesions import component_hits, diameters_mm, upright

ORGAN = Code(value="91723000", scheme="SCT", meaning="Anatomical Structure")
LUNG = Code(value="39607008", scheme="SCT", meaning="Lung")
NODULE = Code(value="27925004", scheme="SCT", meaning="Nodule")
FRACTURE = Code(value="125605004", scheme="SCT", meaning="Fracture")
AXIAL = np.array([[0, 0, 0.8, -30.0], [0, 0.8, 0, -20.0], [2.0, 0, 0, 50.0], [0, 0, 0, 1]])
PROVENANCE = Provenance(model_name="m", model_version="1", model_digest="sha256:" + "0" * 64, intended_use="-",
                        device_uid="2.25.1", node_version="0", content_time=datetime(2026, 1, 1, tzinfo=UTC))


def _label(value, name, code, *, lesion=False):
    return Label(value=value, name=name, category=ORGAN, type=code, colour_rgb=(1, 2, 3), lesion=lesion)


def _model(*labels: Label, task="segmentation", roles=("ct",), **changes: object):
    made = ModelFile(name="m", task="segmentation", bundle="b", digest="sha256:" + "0" * 64, intended_use="-",
                     inputs=tuple(InputRole(role=role) for role in roles), labels=labels)
    return replace(made, task=task, **changes)


def _dataset(folder, *, labels, task="segmentation", affine=AXIAL, images=1, channels=("ct",), **case: object):
    writer = DatasetWriter(folder / "data", name="set", task=task, channels=list(channels), modality="CT",
                           labels=labels)
    image = np.arange(8 * 12 * 16, dtype=np.int16).reshape(8, 12, 16)
    writer.add(id="one", patient="p", images_zyx=[image + 100 * k for k in range(images)], affine_lps_mm=affine,
               split="test", **case)
    return writer.close()


def _scored(dataset, model, output):
    image = read_case(dataset.test[0], dataset, model)
    pairs, _ = fit_to_score(model, dataset)
    findings = model_findings(model, image.volume, output, provenance=PROVENANCE,
                              tracking_uid=lambda name: f"2.25.{len(name)}")
    return image, score_case(image, dataset, model, pairs, output, findings, findings)


def _output(**given: object):
    return RawOutput(**{"labels_zyx": None, "seconds": {"load": 9.0, "inference": 1.5}, "peak_mb": 10.0,
                        "device": "cpu", **given})


def _truth(*boxes: tuple[slice, ...]):
    truth = np.zeros((8, 12, 16), np.uint8)
    for box in boxes:
        truth[box] = 1
    return truth


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("sign", [1, -1])
def test_image_and_truth_keep_their_place_in_any_orientation(tmp_path, order, sign):
    """Wherever slices, rows and columns point, planes follow their normal and each voxel stays where it was."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[:, list(order)] * [3.0 * sign, 1.0, 2.0])
    label = DatasetLabel(value=1, name="Lung", type=LUNG)
    dataset = _dataset(tmp_path, labels=[label], affine=affine, label_zyx=_truth(np.s_[2:4, 3:5, 6:9]))
    image = read_case(dataset.test[0], dataset, _model(_label(1, "Lung", LUNG)))
    stack = image.volume.stack
    assert (stack.gaps_mm > 0).all()
    original = np.arange(8 * 12 * 16).reshape(8, 12, 16)
    for place in ((0, 0, 0), (3, 7, 2), (7, 11, 15)):
        there = stack.affine_lps_mm @ [*place, 1]
        index = np.rint(np.linalg.inv(affine) @ there)[:3].astype(int)
        assert image.volume.values_zyx[place] == original[tuple(index)]
    centre = stack.affine_lps_mm @ [*np.argwhere(image.truth_zyx).mean(axis=0), 1]
    assert centre == pytest.approx(affine @ [2.5, 3.5, 7.0, 1])


def test_an_image_whose_rows_and_columns_are_skewed_is_refused(tmp_path):
    affine = AXIAL.copy()
    affine[0, 1] = 0.3
    dataset = _dataset(tmp_path, labels=[DatasetLabel(value=1, name="Lung")], affine=affine, label_zyx=_truth())
    with pytest.raises(UnusableDataset, match="right angles"):
        read_case(dataset.test[0], dataset, _model(_label(1, "Lung", LUNG)))


def test_roles_find_their_channels_by_name_and_else_in_order(tmp_path):
    dataset = _dataset(tmp_path, labels=[DatasetLabel(value=1, name="Lung")], images=3, channels=("t1", "t2", "flair"),
                       label_zyx=_truth())
    by_name = read_case(dataset.test[0], dataset, _model(_label(1, "Lung", LUNG), roles=("flair", "t1")))
    assert [int(volume.values_zyx[0, 0, 0]) for volume in by_name.volumes.values()] == [200, 0]
    in_order = read_case(dataset.test[0], dataset, _model(_label(1, "Lung", LUNG), roles=("a", "b", "c")))
    assert [int(volume.values_zyx[0, 0, 0]) for volume in in_order.volumes.values()] == [0, 100, 200]
    with pytest.raises(UnusableDataset, match="t1, t2, flair"):
        read_case(dataset.test[0], dataset, _model(_label(1, "Lung", LUNG), roles=("a", "b")))


def test_labels_belong_together_by_name_before_code_and_a_shared_code_decides_nothing(tmp_path):
    labels = [DatasetLabel(value=1, name="left lung", type=LUNG), DatasetLabel(value=2, name="Knoten", type=NODULE)]
    dataset = _dataset(tmp_path, labels=labels, label_zyx=_truth())
    model = _model(_label(4, "Left Lung", LUNG), _label(5, "right lung", LUNG), _label(6, "Nodule", NODULE))
    pairs, notes = matched(model, dataset)
    assert [(pair.name, pair.model_value, pair.truth_value) for pair in pairs] == \
        [("left lung", 4, 1), ("Knoten", 6, 2)]
    assert notes == (f"right lung of the model is not scored: {NO_PARTNER}",)
    pairs, notes = matched(_model(_label(4, "a", LUNG), _label(5, "b", LUNG)), dataset)
    assert pairs == ()
    assert len(notes) == 4


def test_a_side_of_an_organ_is_never_scored_against_the_whole_of_it(tmp_path):
    sides = [DatasetLabel(value=1, name="left lung", type=LUNG), DatasetLabel(value=2, name="right lung", type=LUNG)]
    whole = _model(_label(1, "Lung", LUNG))
    assert matched(whole, _dataset(tmp_path / "sides", labels=sides, label_zyx=_truth()))[0] == ()
    both = [sides[0], DatasetLabel(value=2, name="Lung", type=LUNG)]
    (pair,), notes = matched(whole, _dataset(tmp_path / "both", labels=both, label_zyx=_truth()))
    assert (pair.name, pair.truth_value) == ("Lung", 2)
    assert notes == (f"left lung of the data set is not scored: {NO_PARTNER}",)


def test_nothing_in_common_is_refused_with_every_reason(tmp_path):
    dataset = _dataset(tmp_path, labels=[DatasetLabel(value=1, name="Liver")], label_zyx=_truth())
    with pytest.raises(UnusableDataset) as refused:
        fit_to_score(_model(_label(1, "Lung", LUNG), roles=("t1", "t2")), dataset)
    assert len(refused.value.problems) == 4
    assert "no label in common" in str(refused.value)


def test_what_the_node_leaves_out_as_too_small_is_not_scored_as_found(tmp_path):
    """The mask has a lesion of one voxel, which the model file calls no finding."""
    label = DatasetLabel(value=1, name="Nodule", type=NODULE, lesion=True)
    found = _truth(np.s_[2:5, 2:5, 2:5], np.s_[6:7, 9:10, 9:10])
    dataset = _dataset(tmp_path, labels=[label], label_zyx=_truth(np.s_[2:5, 2:5, 2:5]))
    model = _model(replace(_label(1, "Nodule", NODULE, lesion=True), min_ml=0.01))
    _, row = _scored(dataset, model, _output(labels_zyx=found))
    assert row.labels["Nodule"].overlap["dice"] == 1.0
    assert row.labels["Nodule"].lesions.counts.false_positive == 0
    assert row.seconds == 1.5


def test_a_case_that_the_node_would_refuse_says_so_and_is_scored(tmp_path):
    dataset = _dataset(tmp_path, labels=[DatasetLabel(value=1, name="Lung")], label_zyx=_truth(np.s_[2:5, 2:5, 2:5]))
    model = _model(_label(1, "Lung", LUNG))
    strict = replace(model, inputs=(InputRole(
        role="ct", slices=Range(min=20), spacing_mm=SpacingLimits(max_between_slices=1.5)),))
    output = _output(labels_zyx=_truth(np.s_[2:5, 2:5, 2:5]))
    _, row = _scored(dataset, strict, output)
    assert row.labels["Lung"].overlap["dice"] == 1.0
    refused = [note for note in row.notes if note.startswith("the node would refuse it: ")]
    assert len(refused) == 2
    assert "8 slices; the model takes at least 20" in refused[0]
    assert "OutsideIntendedUse" in refused[1]
    careless = replace(model, quality=QualitySettings(hounsfield="ignore"))
    assert _scored(dataset, careless, output)[1].notes == ()


def test_a_case_outside_the_limits_or_with_poor_pixels_says_so_and_is_scored(tmp_path):
    dataset = _dataset(tmp_path, labels=[DatasetLabel(value=1, name="Lung")], label_zyx=_truth(np.s_[2:5, 2:5, 2:5]),
                       group={"body_part": "KNEE", "maker": "ACME"})
    limits = Limits(when={"BodyPartExamined": ("CHEST",), "Manufacturer": ("ACME",), "KVP": Condition(max=140)})
    model = replace(_model(_label(1, "Lung", LUNG)), limits=limits, quality=QualitySettings(hounsfield="refuse"))
    _, row = _scored(dataset, model, _output(labels_zyx=_truth(np.s_[2:5, 2:5, 2:5])))
    assert row.labels["Lung"].overlap["dice"] == 1.0
    assert row.notes[0] == "the node would refuse it: OutsideIntendedUse: BodyPartExamined is KNEE, wanted CHEST"
    assert row.notes[1].startswith("the node would refuse it: PoorPixels: series …2.25.3: values of 0 to ")


def test_components_are_seen_where_a_voxel_is_found_and_false_where_none_is_true():
    truth = _truth(np.s_[0:2, 0:2, 0:2], np.s_[5:7, 5:7, 5:7])
    found = _truth(np.s_[1:3, 1:3, 1:3], np.s_[0:1, 9:10, 9:10], np.s_[7:8, 11:12, 15:16])
    hits = component_hits(found.astype(bool), truth.astype(bool))
    assert hits.found.tolist() == [1.0, -np.inf]
    assert hits.false.tolist() == [1.0, 1.0]
    nothing = component_hits(_truth().astype(bool), _truth().astype(bool))
    assert (nothing.found.size, nothing.false.size) == (0, 0)


def test_the_diameter_of_a_lesion_is_measured_within_its_slice_however_that_lies():
    boxes = np.array([[0.0, 0, 0, 10, 4, 3]])
    normals = {"sagittal": [1, 0, 0], "coronal": [0, -1, 0], "axial": [0.1, 0.1, 0.99]}
    found = {name: float(diameters_mm(boxes, np.array(normal))[0]) for name, normal in normals.items()}
    assert found == {"sagittal": 4.0, "coronal": 10.0, "axial": 10.0}
    assert diameters_mm(np.empty((0, 6)), np.array([0.0, 0, 1])).shape == (0,)


def test_a_box_round_one_voxel_is_as_large_as_the_voxel_and_lies_round_its_centre():
    box = upright([[2.5, 3.5, 6.5, 3.5, 4.5, 7.5]], AXIAL)[0]
    assert (box[:3] + box[3:]) / 2 == pytest.approx((AXIAL @ [3, 4, 7, 1])[:3])
    assert box[3:] - box[:3] == pytest.approx([0.8, 0.8, 2.0])
    assert upright([box], np.linalg.inv(AXIAL))[0] == pytest.approx([2.5, 3.5, 6.5, 3.5, 4.5, 7.5])


def test_boxes_of_a_detector_are_matched_with_components_of_a_label_map(tmp_path):
    label = DatasetLabel(value=1, name="Nodule", type=NODULE, lesion=True)
    truth = _truth(np.s_[2:5, 2:6, 2:6], np.s_[6:8, 8:12, 10:14])
    dataset = _dataset(tmp_path, labels=[label], label_zyx=truth)
    boxes = (RawBox(box_zyx=(1.5, 1.5, 1.5, 4.5, 5.5, 5.5), label=3, score=0.9),
             RawBox(box_zyx=(0.0, 8.0, 1.0, 2.0, 11.0, 4.0), label=3, score=0.7))
    model = _model(_label(3, "Nodule", NODULE, lesion=True), task="detection")
    _, row = _scored(dataset, model, _output(boxes=boxes))
    lesions = row.labels["Nodule"].lesions
    assert lesions.hits.found.tolist() == [0.9, -np.inf]
    assert lesions.hits.false.tolist() == [0.7]
    assert lesions.diameters_mm.tolist() == pytest.approx([3.2, 3.2])
    assert lesions.boxes.truth[0] == pytest.approx(lesions.boxes.found[0])


def test_a_class_counts_as_given_only_where_the_node_reports_it(tmp_path):
    labels = [DatasetLabel(value=1, name="Fracture", type=FRACTURE), DatasetLabel(value=2, name="No fracture")]
    dataset = _dataset(tmp_path, labels=labels, task="classification", klass=0)
    model = _model(task="classification", classes=(
        ClassLabel(value=0, name="No fracture", code=LUNG, finding=False),
        ClassLabel(value=1, name="Fracture", code=FRACTURE)))
    _, sure = _scored(dataset, model, _output(probabilities={0: 0.2, 1: 0.8}))
    assert (sure.truth, sure.given, sure.probabilities["Fracture"]) == ("Fracture", "Fracture", 0.8)
    _, unsure = _scored(dataset, model, _output(probabilities={0: 0.45, 1: 0.40}))
    assert unsure.given == ""
