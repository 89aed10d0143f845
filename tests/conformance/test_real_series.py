"""Results on real series: read, marked, encoded, and looked at by other people's programs."""

import tarfile

import numpy as np
import pytest
from pydicom import dcmread

from dicomnode.domain.findings import NotAnalysed
from dicomnode.encode.text import encode_notice
from dicomnode.read.series import load_headers
from tests.conformance.cases import Case, encoded_of
from tests.conformance.false_alarms import faults
from tests.conformance.finders import organs_and_lesions
from tests.conformance.judges import dciodvfy, dsrdump
from tests.conformance.masks import drawn_on_sources, segmentations
from tests.findings import parsed, stamp
from tests.live import shared_data
from tests.object_rules import broken_rules

ARCHIVES = {
    "chest CT": ("ct_chest_c3n00247", "c3n00247.tar.xz"), "oblique brain MR": ("mr_brain_sag_anon", "sag_anon.tar.xz"),
    "tilted head CT with gaps": ("ct_head_ge_tilt_gaps", "ge_head_tilt.tar.xz"),
}
ENHANCED = {
    "Enhanced MR of Siemens": ("dcm_qa_enh", "In", "Siemens", "XA10", "6_1.dcm"),
    "Enhanced CT of two frames": ("pydicom-data", "data_store", "data", "eCT_Supplemental.dcm"),
}


def files_of(name, folder):
    if name in ENHANCED:
        return [shared_data("dicom_enhanced_multiframe", *ENHANCED[name])]
    with tarfile.open(shared_data(*ARCHIVES[name])) as archive:
        archive.extractall(folder, filter="data")
    return sorted(folder.rglob("*.dcm"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ARCHIVES, *ENHANCED])
def test_results_on_a_real_series_are_valid_and_lie_on_its_voxels(name, tmp_path):
    files = files_of(name, tmp_path / "in")
    result = encoded_of([files], Case(series=name, finder=organs_and_lesions), tmp_path)
    assert broken_rules([dcmread(path) for path in result.paths], [header_of(path) for path in files]) == []
    for path, found, expected in segmentations(result):
        drawn = drawn_on_sources(path, found, expected)
        for number, mask in expected.items():
            np.testing.assert_array_equal(drawn[number], mask)
    assert faults([*dciodvfy(name, result.paths), *dsrdump(name, result.paths)]) == []


def header_of(path):
    return dcmread(path, stop_before_pixels=True)


def test_every_real_name_survives_in_the_report_that_nothing_was_analysed():
    folder = shared_data("dicom_charsets")
    names = set()
    for path in sorted(path for path in folder.rglob("*") if path.name.startswith(("chr", "SCS", "GH", "Lena"))):
        sources = load_headers([path])
        if not sources or "StudyInstanceUID" not in sources[0]:
            continue
        reason = NotAnalysed(reason="MissingGeometry", text="no position", study_uid=sources[0].StudyInstanceUID)
        result = parsed(encode_notice(reason, sources, stamp()))
        assert str(result.PatientName) == str(sources[0].PatientName), path.name
        assert str(result.PatientName).encode() in encode_notice(reason, sources, stamp()).payload
        names.add(str(result.PatientName))
    assert {"Wang^XiaoDong=王^小东", "Hong^Gildong=洪^吉洞=홍^길동", "قباني^لنزار"} <= names
