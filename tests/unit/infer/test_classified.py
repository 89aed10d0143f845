"""What a probability means: present, absent, or that nobody can tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicomnode.domain.dicom import Code
from dicomnode.domain.findings import Presence
from dicomnode.domain.model import InputRole, ModelFile
from dicomnode.domain.settings import ClassificationSettings, ClassLabel
from dicomnode.errors import ModelFailed
from dicomnode.infer.measure import model_findings
from dicomnode.infer.output import RawOutput
from tests.bundles import volume
from tests.findings import provenance

CODE = Code(value="60046008", scheme="SCT", meaning="Pleural effusion")


def presences(probabilities, **settings: object):
    """Each class's presence, by number."""
    model = ModelFile(
        name="m", task="classification", bundle=Path("b").name, digest="sha256:" + "0" * 64, intended_use="Tests.",
        inputs=(InputRole(role="image"),), labels=(), classification=ClassificationSettings(**settings),
        classes=tuple(ClassLabel(value=value, name=f"Class {value}", code=CODE) for value in range(3)))
    output = RawOutput(labels_zyx=None, seconds={}, peak_mb=0.0, device="cpu", probabilities=probabilities)
    found = model_findings(model, volume(np.zeros((4, 5, 6), np.int16)), output, provenance=provenance(),
                           tracking_uid=lambda name: name)
    order = [one.probability for one in found.classifications]
    assert order == sorted(order, reverse=True)
    return {one.of.value: one.presence for one in found.classifications}


def test_of_classes_that_exclude_each_other_the_most_probable_is_present():
    assert presences({0: 0.2, 1: 0.7, 2: 0.1}) == {0: Presence.ABSENT, 1: Presence.PRESENT, 2: Presence.ABSENT}


def test_where_no_class_is_probable_enough_nobody_can_tell():
    assert set(presences({0: 0.35, 1: 0.4, 2: 0.25}).values()) == {Presence.UNDETERMINED}


def test_of_two_equal_classes_the_first_is_present():
    found = presences({0: 0.1, 1: 0.45, 2: 0.45}, report_at_least=0.4)
    assert found == {0: Presence.ABSENT, 1: Presence.PRESENT, 2: Presence.ABSENT}


def test_classes_that_do_not_exclude_each_other_are_judged_each_for_itself():
    found = presences({0: 0.9, 1: 0.5, 2: 0.49}, exclusive=False)
    assert found == {0: Presence.PRESENT, 1: Presence.PRESENT, 2: Presence.ABSENT}


@pytest.mark.parametrize("given", [None, {0: 0.5, 1: 0.5}])
def test_a_class_without_a_probability_is_an_error(given):
    with pytest.raises(ModelFailed, match=r"no probability for .*Class 2"):
        presences(given)
