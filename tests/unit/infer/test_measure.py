"""From a label map to volumes, lesions, sides and diameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.domain.dicom import Code
from dicomnode.domain.findings import ModelFindings
from dicomnode.domain.model import InputRole, Label, ModelFile
from dicomnode.domain.volume import SliceStack, Volume
from dicomnode.errors import ModelFailed
from dicomnode.infer import midline
from dicomnode.infer.measure import model_findings
from dicomnode.infer.output import RawOutput
from dicomnode.phantom.canvas import LABEL_LUNG, LABEL_NODULE
from dicomnode.phantom.chest import chest_ct
from tests.builders import affine_lps, uid_of
from tests.bundles import stack
from tests.findings import LUNG, NODULE, provenance

SHAPE = (20, 40, 60)
AXIAL = affine_lps(spacing_zyx_mm=(2.0, 1.0, 1.0), origin_mm=(-30.0, -20.0, 0.0))
BODY = replace(LUNG, measure=("volume_ml", "mean_hu"))


def model(*labels: Label) -> ModelFile:
    return ModelFile(name="m", task="segmentation", bundle="b", digest="sha256:" + "0" * 64, intended_use="Tests.",
                     inputs=(InputRole(role="ct"),), labels=labels)


def measured(mask: np.ndarray, *labels: Label, hu: float = -700, affine: np.ndarray = AXIAL,
             on: SliceStack | None = None, body: slice | None = None) -> ModelFindings:
    values = np.full(mask.shape, hu, np.int16)
    if body is not None:
        values[:, 4:36, body] = 40
    volume = Volume(values_zyx=values, stack=on or stack(mask.shape, affine), modality="CT")
    output = RawOutput(labels_zyx=mask, seconds={}, peak_mb=0, device="cpu")
    return model_findings(model(*labels), volume, output, provenance=provenance(), tracking_uid=uid_of)


def test_a_structure_has_the_volume_and_the_mean_of_its_voxels():
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:12, 5:15, 10:50] = 1
    (organ,) = measured(mask, BODY).organs
    assert organ.voxels == 4000
    assert [(m.value, m.unit.value) for m in organ.measurements] == [
        (pytest.approx(8.0), "ml"), (pytest.approx(-700), "[hnsf'U]")]


def test_volumes_use_the_true_distances_between_slices():
    regular = stack((4, 10, 10), affine_lps(spacing_zyx_mm=(1.0, 1.0, 1.0)))
    moved = replace(regular.planes[3], position_lps_mm=regular.planes[2].position_lps_mm + np.array([0, 0, 5.0]))
    uneven = replace(regular, planes=(*regular.planes[:3], moved))
    mask = np.ones((4, 10, 10), np.uint8)
    (organ,) = measured(mask, BODY, on=uneven).organs
    assert organ.measurements[0].value == pytest.approx(0.1 * (1 + 1 + 3 + 5))


def test_each_connected_component_is_a_lesion_largest_first_with_place_and_box():
    mask = np.zeros(SHAPE, np.uint8)
    mask[4, 10, 10] = 2
    mask[10:13, 20:24, 40:46] = 2
    found = measured(mask, LUNG, NODULE)
    big, small = found.detections
    assert (big.number, big.tracking_id, big.tracking_uid) == (1, "Nodule 1", uid_of("Nodule 1"))
    assert big.volume_ml == pytest.approx(72 * 2 / 1000)
    assert big.centre_lps_mm == pytest.approx((-30 + 42.5, -20 + 21.5, 22.0))
    assert (big.key_slice, big.box_yx) == (11, (20, 40, 23, 45)), "of three slices that show as much, the middle one"
    assert (small.number, small.key_slice, small.box_yx) == (2, 4, (10, 10, 10, 10))
    assert [int((found.lesion_zyx == number).sum()) for number in (1, 2)] == [72, 1]
    assert [label.name for label in found.looked_for] == ["Nodule"]


def test_a_lesion_has_what_its_label_asks_for_besides_diameter_and_volume():
    mask = np.zeros(SHAPE, np.uint8)
    mask[10:13, 20:24, 40:46] = 2
    for asked, said in ((("volume_ml",), []), (("diameter_mm", "mean_hu"), [("112031", pytest.approx(-700))])):
        (found,) = measured(mask, LUNG, replace(NODULE, measure=asked)).detections
        assert [(one.name.value, one.value) for one in found.measurements] == said


def test_lesions_of_each_label_are_numbered_from_one():
    mask = np.zeros(SHAPE, np.uint8)
    for place, value in enumerate((2, 3, 2, 3)):
        mask[4 * place:4 * place + 3, 10:20 - place, 10:20] = value
    found = measured(mask, LUNG, NODULE, replace(NODULE, value=3, name="Mass"))
    assert [(one.number, one.tracking_id) for one in found.detections] == [
        (1, "Nodule 1"), (2, "Mass 1"), (3, "Nodule 2"), (4, "Mass 2")]


def test_voxels_that_touch_by_a_corner_are_one_lesion():
    mask = np.zeros(SHAPE, np.uint8)
    mask[5, 5, 5] = mask[6, 6, 6] = 2
    assert len(measured(mask, NODULE).detections) == 1


def test_the_diameter_is_the_long_axis_on_the_slice_that_shows_most():
    z, y, x = np.ogrid[:SHAPE[0], :SHAPE[1], :SHAPE[2]]
    mask = ((4 * (z - 10) ** 2 + (y - 20) ** 2 + (x - 30) ** 2) <= 8 ** 2).astype(np.uint8) * 2
    (ball,) = measured(mask, NODULE).detections
    assert ball.diameter_mm == pytest.approx(17.0)
    assert ball.key_slice == 10


def test_what_is_below_the_smallest_size_is_no_finding_and_leaves_the_mask():
    mask = np.zeros(SHAPE, np.uint8)
    mask[4, 10, 10] = 2
    mask[10:13, 20:24, 40:46] = 2
    mask[0, 0, 0] = 1
    found = measured(mask, replace(LUNG, min_ml=0.1), replace(NODULE, min_diameter_mm=3.0))
    assert len(found.detections) == 1
    assert found.organs == ()
    assert sorted(np.unique(found.segmentation.mask_zyx)) == [0, 2]
    assert "1 components below" in found.warnings[0]
    assert mask[4, 10, 10] == 2, "the model's own output stays as it was"


@pytest.mark.parametrize(("affine", "left_column"), [
    (AXIAL, 50), (affine_lps(spacing_zyx_mm=(2.0, 1.0, 1.0), row=(-1, 0, 0), column=(0, -1, 0)), 10)])
def test_left_is_where_lps_x_grows_whatever_the_order_of_columns(affine, left_column):
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:18, 5:35, 5:55] = 1
    mask[10, 20, left_column] = 2
    mask[10, 20, 60 - left_column] = 2
    mask[10, 20, 30] = 2
    found = measured(mask, LUNG, NODULE, affine=affine, body=slice(6, 55))
    sides = {d.box_yx[1]: d.side for d in found.detections}
    assert sides == {left_column: "left", 60 - left_column: "right", 30: ""}


def test_without_a_measured_structure_the_body_gives_the_midline():
    mask = np.zeros(SHAPE, np.uint8)
    mask[10, 20, 50] = 2
    volume = np.full(SHAPE, -1000, np.int16)
    volume[:, 10:30, 5:55] = 40
    whole = Volume(values_zyx=volume, stack=stack(SHAPE, AXIAL), modality="CT")
    output = RawOutput(labels_zyx=mask, seconds={}, peak_mb=0, device="cpu")
    found = model_findings(model(NODULE), whole, output, provenance=provenance(), tracking_uid=uid_of)
    assert found.detections[0].side == "left"


@pytest.mark.parametrize("body", [slice(0, 52), slice(8, 60), slice(0, 60), None])
def test_a_body_that_reaches_an_edge_of_the_picture_gives_no_side(body):
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:18, 5:35, 5:55] = 1
    mask[10, 20, 45] = 2
    assert measured(mask, LUNG, NODULE, body=body).detections[0].side == ""


def test_one_lung_alone_gives_no_side_for_it_does_not_lie_around_the_middle():
    wide = affine_lps(spacing_zyx_mm=(2.0, 1.0, 4.0), origin_mm=(-118.0, -20.0, 0.0))
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:18, 5:35, 35:50] = 1
    mask[10, 20, 40] = 2
    (nodule,) = measured(mask, LUNG, NODULE, affine=wide, body=slice(4, 56)).detections
    assert nodule.centre_lps_mm[0] > 0
    assert nodule.side == ""
    mask[2:18, 5:35, 10:25] = 1
    (nodule,) = measured(mask, LUNG, NODULE, affine=wide, body=slice(4, 56)).detections
    assert nodule.side == "left"


def test_a_couch_as_wide_as_the_picture_does_not_hide_the_middle():
    mask = np.zeros(SHAPE, np.uint8)
    mask[10, 20, 45] = 2
    values = np.full(SHAPE, -1000, np.int16)
    values[:, 5:30, 8:52] = 40
    values[:, 32:35] = 200
    whole = Volume(values_zyx=values, stack=stack(SHAPE, AXIAL), modality="CT")
    output = RawOutput(labels_zyx=mask, seconds={}, peak_mb=0, device="cpu")
    found = model_findings(model(NODULE), whole, output, provenance=provenance(), tracking_uid=uid_of)
    assert found.detections[0].side == "left"


@pytest.mark.parametrize("columns", [128, 84])
def test_the_sides_in_a_chest_with_both_lungs_are_those_on_which_the_nodules_lie_even_if_the_picture_cuts_it(columns):
    chest = chest_ct(6, nodules=5, shape_zyx=(60, 96, columns), spacing_zyx_mm=(5.0, 4.0, 4.0))
    mask = np.where(chest.truth_zyx == LABEL_NODULE, 2, (chest.truth_zyx == LABEL_LUNG).astype(np.uint8))
    on = stack(chest.hu_zyx.shape, affine_lps(spacing_zyx_mm=chest.spacing_zyx_mm))
    volume = Volume(values_zyx=chest.hu_zyx, stack=on, modality="CT")
    output = RawOutput(labels_zyx=mask.astype(np.uint8), seconds={}, peak_mb=0, device="cpu")
    found = model_findings(model(LUNG, NODULE), volume, output, provenance=provenance(), tracking_uid=uid_of)
    assert {nodule.side for nodule in chest.nodules} == {"left", "right"}
    assert sorted(d.side for d in found.detections) == sorted(nodule.side for nodule in chest.nodules)
    one_sided = np.where(np.arange(columns) > columns // 2, output.labels_zyx, 0).astype(np.uint8)
    output = RawOutput(labels_zyx=one_sided, seconds={}, peak_mb=0, device="cpu")
    found = model_findings(model(LUNG, NODULE), volume, output, provenance=provenance(), tracking_uid=uid_of)
    assert {d.side for d in found.detections} <= {"", "left"}, "never the other side"


def test_an_empty_mask_is_a_result_with_what_was_looked_for():
    found = measured(np.zeros(SHAPE, np.uint8), LUNG, NODULE)
    assert (found.organs, found.detections, found.lesion_zyx) == ((), (), None)
    assert [label.name for label in found.looked_for] == ["Nodule"]


def test_a_label_map_on_another_grid_is_refused():
    volume = Volume(values_zyx=np.zeros(SHAPE, np.int16), stack=stack(SHAPE, AXIAL), modality="CT")
    output = RawOutput(labels_zyx=np.zeros((1, 2, 3), np.uint8), seconds={}, peak_mb=0, device="cpu")
    with pytest.raises(ModelFailed, match=r"\(1, 2, 3\)"):
        model_findings(model(LUNG), volume, output, provenance=provenance(), tracking_uid=uid_of)


def test_the_code_of_volume_is_the_standards():
    mask = np.ones(SHAPE, np.uint8)
    assert measured(mask, LUNG).organs[0].measurements[0].name == Code(
        value="118565006", scheme="SCT", meaning="Volume")


def test_the_valley_between_two_lungs_is_found_though_strays_lie_at_the_edge_of_the_picture():
    x = np.arange(256)
    lungs = 4000 * np.exp(-((x - 90) / 22.0) ** 2) + 3500 * np.exp(-((x - 160) / 24.0) ** 2)
    lungs[:3] += 900
    found = midline._valley(lungs.astype(np.int64), 1.4)
    assert found == pytest.approx(125, abs=6)


@pytest.mark.parametrize("centres", [(90,), (90, 110)])
def test_one_lung_has_no_valley(centres):
    x = np.arange(256)
    lung = sum(4000 * np.exp(-((x - centre) / 22.0) ** 2) for centre in centres)
    assert midline._valley(np.asarray(lung).astype(np.int64), 1.4) is None


def overlapping(mask: np.ndarray, *labels: Label) -> ModelFindings:
    volume = Volume(values_zyx=np.zeros(mask.shape, np.int16), stack=stack(mask.shape, AXIAL), modality="CT")
    output = RawOutput(labels_zyx=mask, seconds={}, peak_mb=0, device="cpu")
    return model_findings(replace(model(*labels), overlapping=True), volume, output, provenance=provenance(),
                          tracking_uid=uid_of)


def test_a_structure_inside_another_is_measured_and_so_is_the_whole_of_the_other():
    whole, core = replace(BODY, value=1, measure=("volume_ml",)), replace(BODY, value=9, measure=("volume_ml",))
    mask = np.zeros(SHAPE, np.uint16)
    mask[2:12, 5:15, 10:50] |= 1
    mask[4:6, 5:15, 10:20] |= 1 << 8
    found = overlapping(mask, whole, core)
    assert [(organ.label.value, organ.voxels) for organ in found.organs] == [(1, 4000), (9, 200)]
    assert found.segmentation.present() == (whole, core)


def test_a_lesion_too_small_leaves_its_own_label_alone():
    whole = replace(NODULE, value=1, min_ml=0.0)
    core = replace(NODULE, value=2, min_ml=0.05)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:8, 5:15, 10:20] |= 1
    mask[4:6, 6:8, 11:13] |= 2
    found = overlapping(mask, whole, core)
    assert [found.label.value for found in found.detections] == [1]
    assert int(found.segmentation.voxels(whole).sum()) == 600
    assert found.segmentation.present() == (whole,)


def test_lesions_that_share_voxels_lie_in_layers_of_their_own():
    whole, core = replace(NODULE, value=1, min_ml=0.0), replace(NODULE, value=2, min_ml=0.0)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:8, 5:15, 10:20] |= 1
    mask[4:6, 6:9, 11:14] |= 2
    found = overlapping(mask, whole, core)
    assert [one.label.value for one in found.detections] == [1, 2]
    assert int((found.lesion_zyx == 1).sum()) == 600
    assert [int((layer == 2).sum()) for layer in found.lesion_layers] == [18]
