"""The page and the document of a classification, from rows made by hand."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import ClassLabel, InputRole, ModelFile
from dicomnode.train.dataset.cases import Case, Dataset, DatasetLabel
from dicomnode.train.evaluate.document import evaluation_of, to_json
from dicomnode.train.evaluate.gallery import Gallery
from dicomnode.train.evaluate.page import page
from dicomnode.train.evaluate.runner import ModelScores
from dicomnode.train.score.case_scores import CaseScores, LabelScores
from dicomnode.train.score.label_match import matched

CODE = Code(value="125605004", scheme="SCT", meaning="Fracture")
NAMES = ("Normal", "Fracture", "Mass")


@pytest.fixture(scope="module")
def evaluation():
    """Ten cases of three classes; one fails; the others are reported right but for two, of which one not at all."""
    classes = tuple(ClassLabel(value=k, name=name, code=CODE) for k, name in enumerate(NAMES))
    model = ModelFile(name="classes", task="classification", bundle="b", digest="sha256:" + "0" * 64,
                      intended_use="<b>Tests</b> only.", inputs=(InputRole(role="ct"),), labels=(), classes=classes)
    labels = tuple(DatasetLabel(value=k + 1, name=name) for k, name in enumerate(NAMES))
    dataset = Dataset(root=Path("x"), name="set", task="classification", channels=("ct",), modality="CT",
                      labels=labels, training=(), validation=(), test=(), digest="sha256:1")
    rows = []
    for k in range(10):
        truth = NAMES[k % 3]
        given = {3: "Mass", 7: ""}.get(k, truth)
        sure = {name: 0.8 if name == (given or truth) else 0.1 for name in NAMES}
        rows.append(CaseScores(
            case=Case(id=f"case{k}", patient=f"secret{k}", images=(Path("x"),), klass=k % 3),
            group={"maker": "AB"[k % 2]}, labels={name: LabelScores() for name in NAMES},
            probabilities=sure if k != 9 else {}, truth=truth, given=given, failed="Broken: <why>" if k == 9 else ""))
    scores = ModelScores(model=model, pairs=matched(model, dataset)[0], notes=(), cases=tuple(rows), device="cpu")
    return evaluation_of(dataset, "test", [scores], seed=0, now=datetime(2026, 1, 2, tzinfo=UTC)), dataset


def test_classes_are_scored_and_their_confusion_counted(evaluation):
    document = json.loads(to_json(evaluation[0]))
    scores = {(row["label"], row["metric"]): row for row in document["scores"] if row["key"] == "all"}
    assert scores["all classes", "accuracy"]["value"] == pytest.approx(7 / 9, abs=1e-6)
    assert scores["Normal", "recall"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert scores["Mass", "precision"]["value"] == pytest.approx(3 / 4)
    assert {(row["truth"], row["reported"]): row["cases"] for row in document["confusion"]} == {
        ("Fracture", "Fracture"): 2, ("Fracture", None): 1, ("Mass", "Mass"): 3, ("Normal", "Mass"): 1,
        ("Normal", "Normal"): 2}
    assert len(document["roc"]) == 3
    assert [row["failed"] for row in document["cases"] if row["failed"]] == ["Broken: <why>"]


def test_the_page_escapes_what_it_shows_and_names_no_patient(evaluation):
    text = page(evaluation[0], Gallery(evaluation[1]))
    assert "&lt;b&gt;Tests&lt;/b&gt; only." in text
    assert "Broken: &lt;why&gt;" in text
    assert "secret" not in text
    assert "secret" not in to_json(evaluation[0])
    assert "Which class was reported as which" in text
    assert re.findall(r"(?:src|href)=\"(?!data:)", text) == []


def test_the_same_scores_give_the_same_document_and_page(evaluation):
    first = evaluation[0]
    again = evaluation_of(first.dataset, "test", first.models, seed=0, now=first.made_at)
    assert to_json(again) == to_json(first)
    assert page(again, Gallery(evaluation[1])) == page(first, Gallery(evaluation[1]))
    assert np.isfinite([score.estimate.value for score in first.scores[0] if score.key == "all"]).all()


def test_without_matplotlib_the_page_has_no_plots_and_says_so(evaluation, monkeypatch):
    assert "image/svg+xml" in page(evaluation[0], Gallery(evaluation[1]))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    text = page(evaluation[0], Gallery(evaluation[1]))
    assert "image/svg+xml" not in text
    assert "No plots: matplotlib is not installed" in text
