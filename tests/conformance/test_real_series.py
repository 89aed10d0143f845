"""Results on real series: read, marked, encoded, and looked at by other people's programs."""

import subprocess
import tarfile
from io import BytesIO

import highdicom as hd
import numpy as np
import pytest

from dicomnode.domain.findings import NotAnalysed
from dicomnode.domain.model import InputRole, SpacingLimits
from dicomnode.encode.seg import encode_seg
from dicomnode.encode.sr import encode_reports
from dicomnode.encode.text import encode_notice
from dicomnode.read.series import load, load_headers
from tests.findings import block, findings, parsed, stamp
from tests.live import need, shared_data
from tests.object_rules import broken_rules

ANY_STACK = InputRole(role="any", modality="", spacing_mm=SpacingLimits(uneven=10.0, tilt_deg=45.0))
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
    loaded = load(files_of(name, tmp_path), ANY_STACK)
    stack, sources = loaded.volume.stack, loaded.sources
    depth, rows, columns = stack.shape_zyx
    mask = np.zeros(stack.shape_zyx, np.uint8)
    mask[depth // 4:depth * 3 // 4 + 1, rows // 4:rows // 2, columns // 5:columns // 2] = 1
    spot = block(stack.shape_zyx, slice(depth // 2, depth // 2 + 1), slice(rows // 2, rows // 2 + 4),
                 slice(columns // 2, columns // 2 + 6))
    found = findings(stack, mask, lesions=[spot])
    seg = encode_seg(found, sources, stamp())
    results = [seg, *encode_reports([found], {stack.series_uid: sources}, stamp(), [seg])]
    assert broken_rules([parsed(one) for one in results], sources) == []
    assert_drawn_on_sources(seg, found)
    assert_no_dciodvfy_error(results, tmp_path)


def assert_drawn_on_sources(seg, found):
    """Each frame of each segment equals the mask on the source image, or frame, that it names."""
    planes = {(plane.instance.sop_instance_uid, plane.frame): k for k, plane in enumerate(found.stack.planes)}
    read = hd.seg.segread(BytesIO(seg.payload))
    drawn = np.zeros(found.stack.shape_zyx, np.uint8)
    for index, group in enumerate(read.PerFrameFunctionalGroupsSequence, start=1):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        k = planes[source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber", 1)]
        drawn[k][read.get_stored_frame(index) > 0] = number
        np.testing.assert_allclose([float(value) for value in group.PlanePositionSequence[0].ImagePositionPatient],
                                   found.stack.planes[k].position_lps_mm, atol=1e-6)
    np.testing.assert_array_equal(drawn, found.segmentation.mask_zyx)


def assert_no_dciodvfy_error(results, folder):
    program = need("dciodvfy", "dicom3tools")
    for one in results:
        path = folder / f"{one.sop_instance_uid}.dcm"
        path.write_bytes(one.payload)
        done = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace", check=False)
        assert not [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Abort"))]


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
