"""Classification bundles in the process of the test: what they give, and what is refused with which advice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dicomnode.errors import ModelFailed
from dicomnode.infer.job import Job, Loading, runner_of
from dicomnode.infer.request import affine_ras_mm, described
from tests.bundles import blobs, volume
from tests.classification_bundles import classification_file, classification_template

SCORES = [{"_target_": "AsDiscreted", "keys": ["pred"], "argmax": True, "to_onehot": 3}]
SIGMOID = [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
           {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}]
TWICE = [{"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: torch.stack([x, x])"}]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return classification_template(tmp_path_factory.mktemp("bundles") / "template")


def probabilities(folder, model):
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    runner = runner_of(Loading(files=files, overrides={}, device=torch.device("cpu"), model=described(model)))
    image = volume(blobs((16, 24, 20), seed=1))
    answer = runner.run(Job(
        channels_zyx=[image.values_zyx], affine_ras_mm=affine_ras_mm(image.stack.affine_lps_mm),
        settings={"precision": "float32"}, out_zyx=np.zeros(1), progress=lambda _fraction: None))
    return {int(value): probability for value, probability in answer.found["probabilities"].items()}


def test_a_bundle_that_wants_the_true_label_beside_its_prediction_runs_without(template):
    given = probabilities(template, classification_file(template))
    assert sum(given.values()) == pytest.approx(1, abs=1e-6)
    assert len({round(value, 3) for value in given.values()}) == 3


def test_the_same_bundle_written_in_yaml_gives_the_same(template, tmp_path):
    folder = classification_template(tmp_path / "yaml", suffix="yaml")
    given = probabilities(folder, classification_file(folder))
    assert given == pytest.approx(probabilities(template, classification_file(template)), abs=1e-6)


def test_a_bundle_that_gives_scores_needs_an_activation_and_then_gives_its_softmax(template, tmp_path):
    folder = classification_template(tmp_path / "scores", post=SCORES)
    with pytest.raises(ModelFailed, match=r'no probabilities.*activation = "softmax"'):
        probabilities(folder, classification_file(folder))
    given = probabilities(folder, classification_file(folder, activation="softmax"))
    assert given == pytest.approx(probabilities(template, classification_file(template)), abs=1e-6)


def test_classes_that_do_not_exclude_each_other_must_be_declared(tmp_path):
    folder = classification_template(tmp_path / "sigmoid", post=SIGMOID)
    with pytest.raises(ModelFailed, match="exclusive = false"):
        probabilities(folder, classification_file(folder))
    assert all(0 < value < 1 for value in probabilities(folder, classification_file(folder, exclusive=False)).values())


def test_a_model_file_with_too_few_classes_is_told_so(template):
    model = classification_file(template)
    with pytest.raises(ModelFailed, match="gives 3 values"):
        probabilities(template, replace(model, classes=model.classes[:2]))


def test_a_bundle_that_gives_several_values_per_class_is_no_classifier(tmp_path):
    folder = classification_template(tmp_path / "twice", post=TWICE)
    with pytest.raises(ModelFailed, match=r"shape \(2, 3\); expected is one value per class"):
        probabilities(folder, classification_file(folder))
