"""What looks wrong about pixels is flagged or refused, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dicomnode.domain.model import InputRole
from dicomnode.domain.settings import QualitySettings
from dicomnode.errors import PoorPixels
from dicomnode.phantom.brain import brain_mr
from dicomnode.phantom.chest import chest_ct
from dicomnode.read.padding import for_the_network
from dicomnode.read.quality import defects, quality_warnings
from dicomnode.read.series import LoadedSeries, load
from tests.builders import ct_series, enhanced_ct, mr_series, write_file, write_series
from tests.shared import dicom_files, shared_data, unpacked

FLAG = QualitySettings()


def chest(slices: int = 12) -> np.ndarray:
    """Air, a body of soft tissue with lungs, a little bone; noise everywhere."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    hu = np.full((slices, 64, 64), -1000.0)
    hu[:, (x / 0.8) ** 2 + (y / 0.6) ** 2 < 1] = 40
    hu[:, ((np.abs(x) - 0.35) / 0.25) ** 2 + (y / 0.4) ** 2 < 1] = -850
    hu[:, x**2 + (y - 0.45) ** 2 < 0.01] = 700
    return np.clip(np.rint(hu + rng.normal(0, 15, hu.shape)), -1024, 3071)


def loaded(tmp_path, hu: np.ndarray, build: Callable = ct_series, **attributes: object) -> LoadedSeries:
    return load(write_series(tmp_path / "series", build(hu, **attributes)), InputRole(role="one", modality=""))


def checks(series: LoadedSeries) -> list[str]:
    return [defect.check for defect in defects(series.volume, series.sources)]


def test_an_ordinary_series_has_no_defect(tmp_path):
    assert checks(loaded(tmp_path, chest())) == []
    assert quality_warnings(loaded(tmp_path, chest()), FLAG) == ()


def test_constant_slices_are_named_by_number_and_value(tmp_path):
    hu = chest()
    hu[2:5], hu[8] = -1024, -1024
    assert quality_warnings(loaded(tmp_path, hu), FLAG) == (
        "image quality: slices 3 to 5, 9 of 12 hold one value only (-1024)",)


def test_a_slice_with_the_pixels_of_another_is_named_with_it(tmp_path):
    hu = chest()
    hu[7], hu[8], hu[1] = hu[6], hu[6], hu[11]
    (said,) = quality_warnings(loaded(tmp_path, hu), FLAG)
    assert said == "image quality: slice 8 has the same pixels as slice 7, and 2 more"
    nearly = chest()
    nearly[7] = nearly[6]
    nearly[7, 3, 3] += 1
    assert checks(loaded(tmp_path, nearly)) == []


@pytest.mark.parametrize(("top", "how"), [(3071, "twelve bits"), (250, "anywhere")])
def test_a_range_that_was_cut_off_above_is_seen(tmp_path, top, how):
    hu = chest()
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    bright = x**2 + y**2 < 0.06
    hu[4:6, bright] = 2900 if how == "twelve bits" else 200
    hu[4:6] += np.random.default_rng(1).normal(0, 120, hu[4:6].shape) * bright
    hu[4:6, bright] += 300 if how == "twelve bits" else 60
    assert checks(loaded(tmp_path, hu)) == []
    cut = np.clip(np.rint(hu), -1024, top)
    (defect,) = defects(loaded(tmp_path, cut).volume, loaded(tmp_path, cut).sources)
    assert defect.check == "saturation"
    assert "slices 5 to 6" in defect.says if how == "twelve bits" else "slices" in defect.says
    assert f"have the highest value {top}: the range was cut off there" in defect.says


@pytest.mark.parametrize("intercept", ["0", "-100"])
def test_a_range_that_was_cut_off_is_seen_where_each_slice_has_a_slope_of_its_own(tmp_path, intercept):
    rng = np.random.default_rng(3)
    values = np.clip(rng.normal(1500, 400, (6, 64, 64)), 0, 4000)
    values[2, 20:30, 20:30], values[4, 5:15, 5:15] = 4095, 4095
    series = load(write_series(tmp_path, mr_series(
        np.rint(values), RescaleSlope=lambda k: str(1 + k / 4), RescaleIntercept=intercept, RescaleType="US")),
        InputRole(role="one", modality="MR"))
    (defect,) = defects(series.volume, series.sources)
    assert defect.check == "saturation"
    assert defect.says.startswith("in slices 3, 5 up to 2.4 % of the pixels have the highest value")


def brain_alone() -> np.ndarray:
    """A head that fills the field of view: brain, ventricles, a skull that crosses the edges, no air."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    hu = np.full((12, 64, 64), 32.0)
    hu[:, x**2 + (y / 1.2) ** 2 < 0.04] = 6
    hu[:, (x / 1.05) ** 2 + (y / 1.25) ** 2 > 1] = 900
    return np.rint(hu + rng.normal(0, 8, hu.shape))


@pytest.mark.parametrize("shift", [0, 1024])
@pytest.mark.parametrize("what", [brain_alone, lambda: np.rint(np.random.default_rng(1).normal(35, 12, (9, 48, 48)))],
                         ids=["skull", "brain alone"])
def test_a_field_of_view_without_air_is_no_defect_and_a_shifted_one_is(tmp_path, what, shift):
    found = checks(loaded(tmp_path, what() + shift))
    assert found == (["hounsfield"] if shift else [])


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_a_small_body_in_a_wide_view_is_seen_when_it_is_shifted(tmp_path, share):
    rng = np.random.default_rng(2)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    hu = np.where(x**2 + y**2 < 0.2 * share, 40.0, -1000.0) + rng.normal(0, 15, (9, 64, 64))
    assert checks(loaded(tmp_path / "right", np.rint(hu))) == []
    assert checks(loaded(tmp_path / "wrong", np.rint(hu) + 1024)) == ["hounsfield"]


def test_a_little_metal_is_no_cut_off_range(tmp_path):
    hu = chest()
    hu[4, 30:34, 30:34] = 3071
    assert checks(loaded(tmp_path, hu)) == []


@pytest.mark.parametrize(("wrong", "reason"), [
    (lambda hu: np.clip(hu, 0, None), "nothing is air (below -300)"),
    (lambda hu: hu + 1024, "nothing is air (below -300)"),
    (lambda hu: hu - 1024, "many lie below -1200, which air does not reach"),
    (lambda hu: hu * 2 - 3000, "nothing is soft tissue (-300 to 300)"),
])
def test_ct_that_is_not_in_hounsfield_units_is_seen(tmp_path, wrong, reason):
    said = " ".join(quality_warnings(loaded(tmp_path, wrong(chest())), FLAG))
    assert "look like no Hounsfield units" in said
    assert reason in said
    assert "(Rescale Slope 1, Intercept -1024)" in said


def test_signed_values_that_are_said_to_be_unsigned_are_seen(tmp_path):
    said = " ".join(quality_warnings(
        loaded(tmp_path, chest(), RescaleIntercept="0", PixelRepresentation=0, BitsStored=16), FLAG))
    assert "many lie above 10000, as signed values do that are read as unsigned" in said


def test_mr_may_have_any_values(tmp_path):
    values = np.rint((chest() + 1024) / 4)
    assert checks(loaded(tmp_path, values, mr_series)) == []


@pytest.mark.parametrize("said", [-2000, 63536, None])
def test_a_fill_outside_the_field_of_view_is_no_defect(tmp_path, said):
    hu = chest()
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    hu[:, x**2 + y**2 > 0.9] = -3024
    series = loaded(tmp_path, hu, PixelPaddingValue=-2000 if said == -2000 else None)
    if said == 63536:
        series = loaded(tmp_path, hu, PixelPaddingValue=-2000)
        for header in series.sources:
            header["PixelPaddingValue"].VR = "US"
            header["PixelPaddingValue"].value = 63536
    assert checks(series) == []


def test_padding_reaches_the_network_as_it_is_or_as_air(tmp_path):
    hu = chest()
    hu[:, :4] = -3024
    series = loaded(tmp_path, hu, PixelPaddingValue=-2000)
    assert for_the_network(series, FLAG) is series.volume
    as_air = for_the_network(series, QualitySettings(padding="air"))
    assert (as_air.values_zyx[:, :4] == -1000).all()
    assert (as_air.values_zyx[:, 4:] == series.volume.values_zyx[:, 4:]).all()
    assert (series.volume.values_zyx[:, :4] == -3024).all()
    plain = loaded(tmp_path, hu)
    assert for_the_network(plain, QualitySettings(padding="air")) is plain.volume


def test_a_padding_range_is_padding_from_end_to_end(tmp_path):
    hu = chest()
    hu[:, :2], hu[:, 2:4] = -3024, -2900
    series = loaded(tmp_path, hu, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1800)
    as_air = for_the_network(series, QualitySettings(padding="air")).values_zyx
    assert (as_air[:, :4] == -1000).all()
    assert (as_air[:, 4:] == series.volume.values_zyx[:, 4:]).all()


def test_frames_of_one_file_are_looked_at_as_slices_are(tmp_path):
    hu = chest()
    hu[3] = hu[2]
    one = load([write_file(tmp_path / "one.dcm", enhanced_ct(hu))], InputRole(role="one"))
    assert quality_warnings(one, FLAG) == ("image quality: slice 4 has the same pixels as slice 3",)


def test_what_the_model_file_says_is_done(tmp_path):
    hu = chest()
    hu[2] = -1024
    hu[7] = hu[6]
    series = loaded(tmp_path, hu)
    ignored = QualitySettings(constant_slices="ignore")
    assert quality_warnings(series, ignored) == ("image quality: slice 8 has the same pixels as slice 7",)
    refused = QualitySettings(duplicate_slices="refuse")
    with pytest.raises(PoorPixels, match="slice 8 has the same pixels as slice 7; look at the images"):
        quality_warnings(series, refused)


def test_settings_refuse_another_word():
    with pytest.raises(ValueError, match="hounsfield = 'maybe': allowed are flag, refuse, ignore"):
        QualitySettings(hounsfield="maybe")
    with pytest.raises(ValueError, match="padding = 'zero': allowed are keep, air"):
        QualitySettings(padding="zero")


@pytest.mark.parametrize("seed", [7])
def test_the_phantoms_have_no_defect(tmp_path, seed):
    chest_series = ct_series(chest_ct(seed, shape_zyx=(40, 96, 96), spacing_zyx_mm=(7.0, 4.0, 4.0)).hu_zyx)
    assert checks(load(write_series(tmp_path / "chest", chest_series), InputRole(role="one"))) == []
    for name, values in brain_mr(seed, tumour=True).mr_zyx.items():
        series = load(write_series(tmp_path / name, mr_series(values)), InputRole(role="one", modality="MR"))
        assert checks(series) == [], name


@pytest.mark.parametrize(("name", "modality"), [("ct_chest_c3n00247", "CT"), ("mr_brain_sag_anon", "MR")])
def test_a_whole_real_series_has_no_defect(tmp_path, name, modality):
    folder = shared_data(name)
    files = dicom_files(unpacked(name, tmp_path) if list(folder.glob("*.tar.xz")) else folder)
    assert checks(load(files, InputRole(role="one", modality=modality))) == []
