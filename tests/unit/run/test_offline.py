"""The identity of what `process` makes: the same for the same content, another for any other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dicomnode.domain.model import InputRole, ModelFile
from dicomnode.domain.study import InstanceRecord
from dicomnode.errors import NoSuitableSeries
from dicomnode.run import offline
from dicomnode.run.offline import study_of
from tests.builders import ct_series, write_series

MODEL = ModelFile(name="m", task="segmentation", bundle="b", digest="sha256:" + "0" * 64, intended_use="test",
                  inputs=(InputRole(role="ct"),), labels=(), file_digest="1")
MOMENT = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
identity_of = partial(offline.identity_of, moment=MOMENT)


def inputs(folder: Path, **attributes: object) -> list[InstanceRecord]:
    folder.mkdir()
    write_series(folder, ct_series(np.zeros((3, 8, 6)), **attributes))
    record, _paths = study_of(folder)
    return [instance for series in record.series for instance in series.instances]


def test_the_same_images_have_one_identity_in_whatever_order_they_come(tmp_path):
    images = inputs(tmp_path / "a", PatientID="ONE")
    same = inputs(tmp_path / "b", PatientID="ONE")
    assert identity_of([MODEL], images, language="en") == identity_of([MODEL], same[::-1], language="en")


@pytest.mark.parametrize("corrected", [{"PatientID": "TWO"}, {"PatientName": "Other"}, {"RescaleIntercept": "-1000"}])
def test_images_of_the_same_uids_with_another_content_have_another_identity(tmp_path, corrected):
    images = inputs(tmp_path / "a", PatientID="ONE")
    others = inputs(tmp_path / "b", **{"PatientID": "ONE", **corrected})
    assert [i.sop_instance_uid for i in images] == [i.sop_instance_uid for i in others]
    assert identity_of([MODEL], images, language="en") != identity_of([MODEL], others, language="en")


def test_language_model_and_version_of_the_node_belong_to_the_identity(tmp_path, monkeypatch):
    images = inputs(tmp_path / "a")
    keys = {identity_of([MODEL], images, language=language).job_key for language in ("en", "zh")}
    keys |= {identity_of([replace(MODEL, file_digest="2")], images, language="en").job_key}
    monkeypatch.setattr(offline, "__version__", "0.0.0")
    keys |= {identity_of([MODEL], images, language="en").job_key}
    assert len(keys) == 4


def test_another_moment_device_or_kind_of_object_has_another_identity(tmp_path):
    images = inputs(tmp_path / "a")
    keys = {identity_of([MODEL], images, language="en", **other).job_key for other in (
        {}, {"moment": MOMENT + timedelta(seconds=1)}, {"options": ("cpu",)}, {"options": ("PM", "cpu")})}
    assert len(keys) == 4


def test_a_folder_of_files_that_are_no_images_says_why_most_of_them_are_not(tmp_path):
    series = ct_series(np.zeros((3, 8, 8)), StudyInstanceUID="")
    write_series(tmp_path, series)
    (tmp_path / "INDEX.txt").write_text("no image", encoding="utf-8")
    with pytest.raises(NoSuitableSeries, match=r"none of 4 files is an image.*for 3 of them: .*StudyInstanceUID"):
        study_of(tmp_path)
