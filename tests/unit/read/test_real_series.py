from __future__ import annotations

import numpy as np
import pytest
from pydicom import dcmread

from dicomnode.domain.model import InputRole
from dicomnode.errors import (
    CannotUnderstand,
    GantryTilt,
    MissingGeometry,
    MissingSlices,
    UndecodablePixels,
    UnusableInput,
)
from dicomnode.read import header
from dicomnode.read.series import load
from tests.shared import dicom_files, unpacked

ANY = InputRole(role="any")


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
def test_loading_malformed_files_ends_in_a_volume_or_a_reason(tmp_path):
    reasons: set[type[UnusableInput]] = set()
    for path in dicom_files(unpacked("dicom_fuzz", tmp_path)):
        try:
            load([path], ANY)
        except UnusableInput as error:
            reasons.add(type(error))
    assert {MissingGeometry, UndecodablePixels} & reasons
    assert not reasons & {MissingSlices, GantryTilt}
