from __future__ import annotations

import json

import pytest

from dicomnode.adopt import anatomy
from dicomnode.adopt.guess import UNSTATED_USE, about
from dicomnode.adopt.skeleton import skeleton, with_keys
from dicomnode.config.models import model_from_text
from dicomnode.errors import ConfigError

DIGEST = "sha256:" + "0" * 64


def guessed(tmp_path, image=None, pred=None, config=None, **metadata: object):
    """What is found out about a bundle with these metadata."""
    (tmp_path / "configs").mkdir(exist_ok=True)
    formats = {"inputs": {"image": image or {}}, "outputs": {"pred": pred or {}}}
    text = json.dumps({"version": "1.2.0", "network_data_format": formats, **metadata})
    (tmp_path / "configs" / "metadata.json").write_text(text, encoding="utf-8")
    (tmp_path / "configs" / "inference.json").write_text(json.dumps(config or {}), encoding="utf-8")
    return about(tmp_path)


def model_of(found):
    return model_from_text(skeleton(found, name="m", bundle="b", digest=DIGEST, trust="pieces"), source="m.toml")


@pytest.mark.parametrize(("name", "meaning", "side"), [
    ("spleen", "Spleen", None), ("kidney_right", "Kidney", "Right"), ("Left Kidney", "Kidney", "Left"),
    ("vertebrae_L5", "L5 vertebra", None), ("rib_left_1", "Rib", "Left"), ("heart_atrium_left", "Left atrium", None),
    ("lung_upper_lobe_left", "Upper lobe of lung", "Left"), ("nodule", "Nodule", None),
    ("urinary_bladder", "Bladder", None),
])
def test_a_known_name_becomes_the_code_of_the_standard(name, meaning, side):
    found = anatomy.guess(name)
    assert found.found
    assert (found.type.scheme, found.type.meaning) == ("SCT", meaning)
    assert (found.modifier.meaning if found.modifier else None) == side


@pytest.mark.parametrize("name", ["circle", "portal_vein_and_splenic_vein", "left", "", "x" * 200])
def test_an_unknown_name_gets_a_code_that_must_be_replaced(name):
    found = anatomy.guess(name)
    assert not found.found
    assert found.type.scheme == "99CONFIRM"


def test_a_tumour_is_an_altered_structure_and_a_lesion_but_oedema_is_one_whole():
    tumour, oedema = anatomy.guess("Tumor core"), anatomy.guess("oedema")
    assert tumour.category == oedema.category == anatomy.ALTERED_STRUCTURE
    assert (tumour.lesion, oedema.lesion) == (True, False)


@pytest.mark.parametrize(("name", "kind", "place", "side"), [
    ("pancreas tumor", "Neoplasm", "Pancreas", None), ("Lung nodules", "Nodule", "Lung", None),
    ("left kidney cyst", "Cyst", "Kidney", "Left"), ("hepatic_tumour", "Neoplasm", "Liver", None),
    ("bone lesion", "Lesion", "Bone", None),
])
def test_a_lesion_of_an_organ_has_the_organ_as_its_region(name, kind, place, side):
    found = anatomy.guess(name)
    assert (found.type.meaning, found.region.meaning, found.lesion) == (kind, place, True)
    assert (found.modifier.meaning if found.modifier else None) == side


def test_channels_become_labels_and_the_background_does_not(tmp_path):
    channels = {"0": "background", "1": "spleen", "2": "autochthon_left"}
    found = guessed(tmp_path, {"modality": "CT", "num_channels": 1, "spatial_shape": [96, 96, 96]},
                    {"format": "segmentation", "channel_def": channels})
    model = model_of(found)
    assert [(one.value, one.name, one.type.meaning) for one in model.labels] == [
        (1, "Spleen", "Spleen"), (2, "Autochthon left", "autochthon_left")]
    assert model.unconfirmed() == ("Autochthon left",)
    assert not model.confirmed
    assert [(role.role, role.modality) for role in model.inputs] == [("ct", "CT")]


def test_four_sequences_become_four_inputs_in_the_order_of_the_network(tmp_path):
    names = {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}
    found = guessed(tmp_path, {"modality": "MR", "num_channels": 4, "channel_def": names},
                    {"format": "segmentation", "num_channels": 3,
                     "channel_def": {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}})
    model = model_of(found)
    assert [(role.role, dict(role.prefer)) for role in model.inputs] == [
        ("t1c", {"SeriesDescription": "T1c"}), ("t1", {"SeriesDescription": "T1"}),
        ("t2", {"SeriesDescription": "T2"}), ("flair", {"SeriesDescription": "FLAIR"})]
    assert [role.contrast for role in model.inputs] == ["with", "without", "any", "any"]
    assert [str(role.when["EchoTime"]) for role in model.inputs] == [
        "at most 30", "at most 30", "at least 70", "at least 70"]
    assert [str(role.when["InversionTime"]) for role in model.inputs] == [
        "at most 1400, or absent", "at most 1400, or absent", "at most 1000, or absent", "at least 1500"]
    assert [label.value for label in model.labels] == [1, 2, 3]
    assert any("overlap" in doubt for doubt in found.doubts)


def test_classes_are_numbered_from_zero_and_none_is_background(tmp_path):
    channels = {"0": "background", "1": "circle"}
    found = guessed(tmp_path, {"modality": "none"}, {"format": "classes", "channel_def": channels})
    model = model_of(found)
    assert model.task == "classification"
    assert [(one.value, one.name) for one in model.classes] == [(0, "Background"), (1, "Circle")]
    assert any("no modality" in doubt for doubt in found.doubts)


@pytest.mark.parametrize(("name", "finding"), [
    ("Normal", False), ("no fracture", False), ("healthy", False), ("Nodule", True), ("notochord", True)])
def test_a_class_that_says_that_nothing_is_there_is_no_finding(tmp_path, name, finding):
    found = guessed(tmp_path, pred={"format": "classes", "channel_def": {"0": name, "1": "x"}})
    assert model_of(found).classes[0].finding is finding


def test_a_detector_is_known_by_its_task_or_by_its_config(tmp_path):
    by_task = guessed(tmp_path, {"modality": "CT"}, {"format": "dict"}, task="CT lung nodule detection")
    assert (by_task.task, [label.name for label in by_task.labels]) == ("detection", ["Nodule"])
    assert model_of(by_task).labels[0].lesion
    assert guessed(tmp_path, config={"detector": {"_target_": "RetinaNetDetector"}}).task == "detection"


@pytest.mark.parametrize("metadata", [
    "", "[]", "null", "{", '{"network_data_format": 3}', '{"network_data_format": {"inputs": {"a": 1}}}',
    '{"network_data_format": {"outputs": {"p": {"channel_def": {"x": [], "9999999": "y", "1": {}}}}}}',
    '{"version": {"a": 1}, "task": [1, 2], "intended_use": "line\\nbreak \\u0000 \\"quoted\\" \\\\ \\u007f"}',
    "[" * 100_000,
])
def test_metadata_of_any_shape_give_a_file_that_loads(tmp_path, metadata):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text(metadata, encoding="utf-8")
    found = about(tmp_path)
    assert model_of(found).labels
    assert found.doubts


def test_what_the_bundle_does_not_say_of_its_use_is_asked_for(tmp_path):
    assert guessed(tmp_path).intended_use == UNSTATED_USE
    assert guessed(tmp_path, intended_use="Only tests.").intended_use == "Only tests."


def test_a_file_with_a_placeholder_for_a_code_cannot_be_confirmed(tmp_path):
    found = guessed(tmp_path, pred={"channel_def": {"0": "background", "1": "autochthon_left"}})
    text = skeleton(found, name="m", bundle="b", digest=DIGEST, trust="pieces")
    with pytest.raises(ConfigError, match="type is a placeholder"):
        model_from_text(text.replace("confirmed = false", "confirmed = true"), source="m.toml")


def test_keys_are_set_where_they_stand_and_nothing_else_changes():
    text = 'name = "a"\n# why\nversion = "1"   # x\n\n[[inputs]]\nname = "kept"\n'
    assert with_keys(text, name="b\\1", trust="code") == (
        'name = "b\\\\1"\n# why\nversion = "1"   # x\ntrust = "code"\n\n[[inputs]]\nname = "kept"\n')


def ends(*steps: tuple[str, dict[str, object]]):
    """A config whose postprocessing has these steps."""
    return {"postprocessing": {"_target_": "Compose", "transforms": [{"_target_": name, "keys": "pred", **arguments}
                                                                     for name, arguments in steps]}}


THREE = {"format": "segmentation", "channel_def": {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}}


def test_channels_that_are_thresholded_each_for_itself_become_labels_that_overlap(tmp_path):
    config = ends(("Activationsd", {"sigmoid": True}), ("AsDiscreted", {"threshold": 0.5}))
    found = guessed(tmp_path, pred=THREE, config=config)
    assert model_of(found).overlapping
    assert not any("overlapping" in doubt for doubt in found.doubts)


def test_an_expression_that_gives_channels_other_values_is_shown_to_whoever_confirms(tmp_path):
    func = "$lambda x: torch.where(x[[2]] > 0, 4, 0)"
    config = ends(("Activationsd", {"sigmoid": True}), ("Lambdad", {"func": func}))
    found = guessed(tmp_path, pred=THREE, config=config)
    assert not model_of(found).overlapping
    assert any("torch.where(x[[2]] > 0, 4, 0)" in doubt for doubt in found.doubts)


@pytest.mark.parametrize(("steps", "exclusive", "activation"), [
    ([("Activationsd", {"softmax": True}), ("AsDiscreted", {"argmax": [True, False]})], True, "bundle"),
    ([("Activationsd", {"sigmoid": True})], False, "bundle"),
    ([("AsDiscreted", {"argmax": True, "to_onehot": 2})], True, "softmax"),
])
def test_how_a_classifier_ends_says_whether_its_classes_exclude_each_other(tmp_path, steps, exclusive, activation):
    found = guessed(tmp_path, pred={"format": "classes", "channel_def": {"0": "in", "1": "out"}}, config=ends(*steps))
    settings = model_of(found).classification
    assert (settings.exclusive, settings.activation) == (exclusive, activation)
