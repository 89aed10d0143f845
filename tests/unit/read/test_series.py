from __future__ import annotations

import re

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicomnode.domain.model import InputRole, Range
from dicomnode.errors import ConflictingInstances, MissingGeometry, MissingRescale, NoSuitableSeries, UndecodablePixels
from dicomnode.read.series import load, load_headers
from tests.builders import affine_lps, ct_series, enhanced_ct, mr_series, write_file, write_series

CT = InputRole(role="ct")
MR = InputRole(role="t1", modality="MR")
HU = np.random.default_rng(3).integers(-1000, 2000, (6, 48, 40))
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian,
            RLELossless, JPEGLSLossless, JPEG2000Lossless)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_transfer_syntax_gives_the_same_hounsfield_units(tmp_path, syntax):
    loaded = load(write_series(tmp_path, ct_series(HU), transfer_syntax=syntax), CT)
    np.testing.assert_array_equal(loaded.volume.values_zyx, HU)
    assert loaded.volume.values_zyx.dtype == np.int16
    assert loaded.volume.modality == "CT"


def test_files_in_any_order_give_one_volume_with_its_sources_beside_it(tmp_path):
    paths = write_series(tmp_path, ct_series(HU, InstanceNumber=lambda k: 50 - k))
    loaded = load(paths[3:] + paths[2::-1], CT)
    np.testing.assert_array_equal(loaded.volume.values_zyx, HU)
    assert [str(source.SOPInstanceUID) for source in loaded.sources] == \
        [plane.instance.sop_instance_uid for plane in loaded.volume.stack.planes]
    assert "PixelData" not in loaded.sources[0]
    assert loaded.notes == ()


def test_each_slice_is_rescaled_by_its_own_slope(tmp_path):
    stored = np.full((3, 16, 16), 100)
    paths = write_series(tmp_path, mr_series(stored, RescaleSlope=lambda k: f"{k + 0.5}", RescaleIntercept="1"))
    values = load(paths, MR).volume.values_zyx
    assert values.dtype == np.float32
    assert [float(plane[0, 0]) for plane in values] == [51.0, 151.0, 251.0]


def test_values_beyond_sixteen_bits_become_exact_float32(tmp_path):
    hu = np.zeros((3, 16, 16))
    hu[1, 2, 3] = -33792
    paths = write_series(tmp_path, ct_series(hu))
    values = load(paths, CT).volume.values_zyx
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, hu)


def test_a_whole_slope_keeps_sixteen_bits(tmp_path):
    hu = HU // 2 * 2
    loaded = load(write_series(tmp_path, ct_series(hu, RescaleSlope="2", RescaleIntercept="-2000")), CT)
    assert loaded.volume.values_zyx.dtype == np.int16
    np.testing.assert_array_equal(loaded.volume.values_zyx, hu)


@pytest.mark.parametrize("said", [{"RescaleSlope": "2.5"}, {"RescaleIntercept": "-100"},
                                  {"RescaleSlope": "0", "RescaleIntercept": "0"}])
def test_mr_with_half_a_rescale_is_refused_not_taken_as_stored(tmp_path, said):
    paths = write_series(tmp_path, mr_series(np.zeros((3, 6, 5)), **said))
    with pytest.raises(MissingRescale, match="allowed are both, or neither"):
        load(paths, InputRole(role="mr", modality="MR"))


def test_an_mr_of_which_half_is_rescaled_is_refused(tmp_path):
    series = mr_series(np.abs(HU), RescaleSlope=lambda k: "2.5" if k < 2 else None,
                       RescaleIntercept=lambda k: "0" if k < 2 else None)
    with pytest.raises(MissingRescale, match="4 of 6 slices have no Rescale Slope"):
        load(write_series(tmp_path, series), MR)


def test_mr_without_rescale_is_taken_as_stored(tmp_path):
    stored = np.abs(HU)
    np.testing.assert_array_equal(load(write_series(tmp_path, mr_series(stored)), MR).volume.values_zyx, stored)


@pytest.mark.parametrize("attributes", [
    {"RescaleSlope": None}, {"RescaleIntercept": None}, {"RescaleType": "Z_EFF"},
])
def test_ct_that_is_no_hounsfield_unit_is_refused(tmp_path, attributes):
    with pytest.raises(MissingRescale, match="HU"):
        load(write_series(tmp_path, ct_series(HU, **attributes)), CT)


def test_monochrome1_shows_white_for_low_but_means_the_same_values(tmp_path):
    paths = write_series(tmp_path, ct_series(HU, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(load(paths, CT).volume.values_zyx, HU)


@pytest.mark.parametrize(("attributes", "inverted"), [
    ({}, lambda stored: 4095 - stored),
    ({"RescaleSlope": "2", "RescaleIntercept": "-5"}, lambda stored: 2 * (4095 - stored) - 5),
    ({"PixelRepresentation": 1, "BitsStored": 16}, lambda stored: -1 - stored),
])
def test_an_mr_whose_low_end_is_shown_white_is_inverted_to_what_people_see(tmp_path, attributes, inverted):
    stored = np.abs(HU) % 4096
    series = mr_series(stored, PhotometricInterpretation="MONOCHROME1", **attributes)
    np.testing.assert_array_equal(load(write_series(tmp_path, series), MR).volume.values_zyx, inverted(stored))


@pytest.mark.parametrize("series", [ct_series(HU, RescaleSlope=None, RescaleIntercept=None), mr_series(np.abs(HU))])
def test_a_lookup_table_in_the_place_of_slope_and_intercept_is_refused(tmp_path, series):
    for image in series:
        image.ModalityLUTSequence = [Dataset()]
    with pytest.raises(MissingRescale):
        load(write_series(tmp_path, series), CT)


def test_float_pixel_data_are_refused_not_read_as_whole_numbers(tmp_path):
    (image,) = ct_series(HU[:1])
    image.FloatPixelData = HU[0].astype("<f4").tobytes()
    image.BitsAllocated = 32
    del image.PixelData
    with pytest.raises(UndecodablePixels, match=r"Float Pixel Data \(7FE0,0008\)"):
        load([write_file(tmp_path / "a.dcm", image)], CT)


def test_an_overlay_above_the_stored_bits_is_not_read_as_pixels(tmp_path):
    stored = np.abs(HU) % 4096
    series = mr_series(stored | 0x8000)
    loaded = load(write_series(tmp_path, series), MR)
    np.testing.assert_array_equal(loaded.volume.values_zyx, stored)


def test_signed_values_of_twelve_bits_keep_their_sign(tmp_path):
    stored = HU % 4096
    series = mr_series(stored, PixelRepresentation=1)
    signed = np.where(stored > 2047, stored - 4096, stored)
    np.testing.assert_array_equal(load(write_series(tmp_path, series), MR).volume.values_zyx, signed)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless])
def test_an_enhanced_image_is_one_source_whose_frames_lie_in_their_slices(tmp_path, syntax):
    affine = affine_lps(spacing_zyx_mm=(3, 0.5, 0.75), row=(0, 1, 0), column=(0, 0, -1))
    built = enhanced_ct(HU, affine=affine, order=[5, 0, 4, 1, 3, 2])
    loaded = load([write_file(tmp_path / "e.dcm", built, transfer_syntax=syntax)], CT)
    np.testing.assert_array_equal(loaded.volume.values_zyx, HU)
    np.testing.assert_allclose(loaded.volume.stack.affine_lps_mm, affine, atol=1e-9)
    assert len(loaded.sources) == 1


def test_cut_off_pixel_data_name_the_instance_and_the_bytes(tmp_path):
    paths = write_series(tmp_path, ct_series(HU))
    name = dcmread(paths[2], stop_before_pixels=True).SOPInstanceUID
    paths[2].write_bytes(paths[2].read_bytes()[:-1000])
    with pytest.raises(UndecodablePixels, match=rf"^SOP Instance {re.escape(name)}: pixel data end after 2840 bytes"):
        load(paths, CT)


def test_damaged_compressed_pixels_name_the_instance(tmp_path):
    paths = write_series(tmp_path, ct_series(HU), transfer_syntax=JPEGLSLossless)
    name = dcmread(paths[4], stop_before_pixels=True).SOPInstanceUID
    damaged = paths[4].read_bytes().replace(b"\xff\xd8\xff", b"\x00\x00\x00")
    paths[4].write_bytes(damaged)
    with pytest.raises(UndecodablePixels, match=re.escape(name)):
        load(paths, CT)


def test_a_transfer_syntax_without_decoder_is_named(tmp_path):
    path = write_file(tmp_path / "a.dcm", ct_series(HU)[0])
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    with pytest.raises(UndecodablePixels):
        load([path], CT)


@pytest.mark.parametrize("attributes", [
    {"PhotometricInterpretation": "PALETTE COLOR"}, {"SamplesPerPixel": 3}, {"BitsAllocated": 12},
    {"BitsStored": 0, "HighBit": 15}, {"Rows": 0}, {"HighBit": 16},
])
def test_pixels_that_are_no_grey_values_are_refused(tmp_path, attributes):
    with pytest.raises(UndecodablePixels):
        load([write_file(tmp_path / "a.dcm", ct_series(HU, **attributes)[0])], CT)


def test_an_image_without_pixels_is_refused(tmp_path):
    built = ct_series(HU)[0]
    del built.PixelData
    with pytest.raises(UndecodablePixels, match="no pixel data"):
        load([write_file(tmp_path / "a.dcm", built)], CT)


def test_a_file_that_is_no_dicom_is_refused(tmp_path):
    paths = write_series(tmp_path, ct_series(HU))
    paths[0].write_bytes(b"nothing")
    with pytest.raises(UndecodablePixels, match=r"0000\.dcm"):
        load(paths, CT)


def test_the_same_file_twice_counts_once(tmp_path):
    paths = write_series(tmp_path, ct_series(HU))
    assert load([*paths, paths[0]], CT).volume.values_zyx.shape == HU.shape


def test_one_instance_with_two_contents_is_a_conflict(tmp_path):
    paths = write_series(tmp_path, ct_series(HU)) + write_series(tmp_path, ct_series(HU + 1)[:1], stem="again")
    with pytest.raises(ConflictingInstances, match="twice"):
        load(paths, CT)


def test_an_instance_without_uid_is_refused(tmp_path):
    with pytest.raises(MissingGeometry, match="SOPInstanceUID"):
        load([write_file(tmp_path / "a.dcm", ct_series(HU, SOPInstanceUID=None)[0])], CT)


def test_too_few_slices_for_the_model_are_refused(tmp_path):
    with pytest.raises(NoSuitableSeries, match="6 slices; the model takes at least 20"):
        load(write_series(tmp_path, ct_series(HU)), InputRole(role="ct", slices=Range(min=20)))


def test_headers_can_be_read_where_pixels_and_geometry_cannot(tmp_path):
    paths = write_series(tmp_path, ct_series(HU, ImagePositionPatient=None))
    paths[1].write_bytes(b"nothing")
    headers = load_headers(paths)
    assert len(headers) == 5
    assert str(headers[0].PatientName) == "Phantom^Test"
