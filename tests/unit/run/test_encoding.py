"""Which objects are made: what a peer gets, or a model file asks for, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.config import model_from_text
from dicomnode.domain.model import Outputs
from dicomnode.domain.node import DEFAULT_TAKES
from dicomnode.domain.volume import Volume
from dicomnode.errors import EncodingError
from dicomnode.run import encoding
from dicomnode.run.encoding import LeftOut, Material, encode_all
from tests.builders import ct_series
from tests.findings import LUNG, findings, stack_of, stamp
from tests.live import ROOT

SHAPE = (4, 32, 32)
SERIES = ct_series(np.zeros(SHAPE))
MODEL = model_from_text((ROOT / "config" / "models" / "demo_chest.toml").read_text(encoding="utf-8"), source="m")


def kinds(*audience: str, left_out: LeftOut | None = None, **outputs: bool):
    stack = stack_of(SERIES)
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 8:20, 8:20] = LUNG.value
    found = findings(stack, mask, looked_for=())
    made = encode_all(Material(
        findings=(found,), models=(replace(MODEL, outputs=Outputs(**outputs)),), stamp=stamp(found.provenance),
        volumes={stack.series_uid: Volume(values_zyx=np.zeros(SHAPE, np.int16), stack=stack, modality="CT")},
        sources={stack.series_uid: SERIES}, audiences=(audience or DEFAULT_TAKES,)), left_out)
    return made, [one.kind for one in made]


def test_a_peer_unasked_gets_binary_segmentations_reports_and_a_manifest():
    assert set(kinds()[1]) == {"SEG", "SR3D", "SR", "KOS"}


@pytest.mark.parametrize("kind", ["LABELMAP", "SC", "RTSTRUCT"])
def test_what_is_made_on_demand_is_made_where_a_peer_gets_it_and_nowhere_else(kind):
    assert kind not in kinds()[1]
    assert kinds("SR", kind)[1].count(kind) == 1


def test_what_a_model_file_asks_for_is_made_whoever_takes_it():
    assert "SC" in kinds("SEG", capture=True)[1]


def test_what_a_model_file_forbids_is_not_made():
    assert "SEG" not in kinds(seg=False)[1]


def test_what_nobody_needs_and_cannot_be_written_is_left_out_and_the_findings_go_out(monkeypatch):
    def fails(*_: object):
        raise EncodingError("its header is unfit")

    monkeypatch.setattr(encoding, "encode_rtstruct", fails)
    monkeypatch.setattr(encoding, "manifests", fails)
    missing: dict[str, str] = {}
    _, found = kinds("SEG", "SR", "SC", "RTSTRUCT", "KOS", left_out=lambda kind, why: missing.update({kind: str(why)}))
    assert set(found) == {"SEG", "SR3D", "SR", "SC"}
    assert missing == dict.fromkeys(("RTSTRUCT", "KOS"), "its header is unfit")
    with pytest.raises(EncodingError):
        kinds("SEG", "RTSTRUCT")


def test_findings_that_cannot_be_written_are_no_result(monkeypatch):
    def fails(*_: object):
        raise EncodingError("its header is unfit")

    monkeypatch.setattr(encoding, "encode_reports", fails)
    with pytest.raises(EncodingError):
        kinds("SEG", "SR", left_out=lambda *_: None)


def test_a_report_names_no_segmentation_that_nobody_gets():
    made, found = kinds("SR")
    assert "SEG" not in found
    assert [one.refers_to for one in made if one.group == "volumes"] == [(), ()]
