"""Segmentations of every kind become the masks that they were made from."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from dicomnode.domain.model import InputRole
from dicomnode.encode.seg import encode_seg
from dicomnode.errors import UnusableAnnotation
from dicomnode.read.annotations import opened, references
from dicomnode.read.annotations_mask import structures_of_mask
from dicomnode.read.annotations_seg import rgb_of_lab, structures_of_seg
from dicomnode.read.marks import structures_of
from dicomnode.read.series import load
from tests.builders import affine_lps, ct_series, enhanced_ct, uid_of
from tests.findings import findings, parsed, stack_of, stamp
from tests.shared import shared_data

SHAPE = (6, 34, 37)
OTHERS = "dicom_seg_sr_by_others"


def a_mask():
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:5, 3:15, 2:10] = 1
    mask[2:4, 5:9, 12:19] = 3
    return mask


def spots(*places: tuple[int, int, int]):
    made = []
    for z, y, x in places:
        one = np.zeros(SHAPE, bool)
        one[z:z + 2, y:y + 3, x:x + 3] = True
        made.append(one)
    return made


@pytest.mark.parametrize("changes", [{}, {"row": (0, 1, 0), "column": (0, 0, -1)}, {"tilt_deg": 8.0}])
def test_the_nodes_own_segmentation_comes_back_to_the_voxel(changes):
    series = ct_series(np.zeros(SHAPE, np.int16), affine=affine_lps(**changes))
    stack = stack_of(series)
    made = findings(stack, a_mask(), lesions=spots((1, 8, 4), (3, 12, 5)))
    found = list(structures_of_seg(parsed(encode_seg(made, series, stamp())), stack))
    drawn = made.segmentation.mask_zyx
    assert [one.name for one in found] == ["Lung", "Heart", "Nodule 1", "Nodule 2"]
    assert np.array_equal(found[0].mask_zyx, drawn == 1)
    assert np.array_equal(found[1].mask_zyx, drawn == 3)
    assert np.array_equal(found[2].mask_zyx | found[3].mask_zyx, drawn == 2)
    assert [one.tracking_uid for one in found[2:]] == ["2.25.1001", "2.25.1002"]
    assert found[0].type.value == "39607008"
    assert np.abs(np.array(found[0].colour_rgb) - (126, 200, 227)).max() <= 2


def test_a_segmentation_of_an_enhanced_image_comes_back(tmp_path):
    image = enhanced_ct(np.zeros(SHAPE, np.int16), order=[3, 1, 0, 2, 5, 4])
    stack = stack_of([image])
    (lung, _) = structures_of_seg(parsed(encode_seg(findings(stack, a_mask()), [image], stamp())), stack)
    assert np.array_equal(lung.mask_zyx, a_mask() == 1)


def highdicom_seg(series, pixels, kind, syntax=ExplicitVRLittleEndian, **changes: object):
    described = [hd.seg.SegmentDescription(
        segment_number=number, segment_label=f"Part {number}", segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Liver, algorithm_type="MANUAL") for number in (1, 2)]
    return hd.seg.Segmentation(
        source_images=series, pixel_array=pixels, segmentation_type=kind, segment_descriptions=described,
        series_instance_uid=uid_of("seg"), series_number=9, sop_instance_uid=uid_of("seg", 1), instance_number=1,
        manufacturer="Other", manufacturer_model_name="Other", software_versions="1", device_serial_number="1",
        transfer_syntax_uid=syntax, **changes)


@pytest.mark.parametrize(("kind", "syntax"), [
    ("BINARY", ExplicitVRLittleEndian), ("LABELMAP", ExplicitVRLittleEndian), ("LABELMAP", RLELossless),
    ("LABELMAP", JPEG2000Lossless), ("BINARY", JPEG2000Lossless),
])
def test_what_highdicom_writes_comes_back(kind, syntax):
    series = ct_series(np.zeros(SHAPE, np.int16))
    pixels = np.where(a_mask() == 3, 2, a_mask())
    found = list(structures_of_seg(highdicom_seg(series, pixels, kind, syntax), stack_of(series)))
    assert [one.number for one in found] == [1, 2]
    assert all(np.array_equal(one.mask_zyx, pixels == one.number) for one in found)


def test_half_of_a_fractional_segment_is_inside():
    series = ct_series(np.zeros(SHAPE, np.int16))
    share = np.zeros((*SHAPE, 2))
    share[2, 4:8, 4:8, 0], share[2, 4:8, 8:10, 0] = 1.0, 0.3
    share[3, 2:4, 2:4, 1] = 0.6
    found = list(structures_of_seg(highdicom_seg(
        series, share, "FRACTIONAL", fractional_type="PROBABILITY", max_fractional_value=100), stack_of(series)))
    assert [int(one.mask_zyx.sum()) for one in found] == [16, 4]


def test_overlapping_segments_each_keep_their_voxels():
    series = ct_series(np.zeros(SHAPE, np.int16))
    both = np.zeros((*SHAPE, 2), np.uint8)
    both[2, 2:10, 2:10, 0], both[2, 5:12, 5:12, 1] = 1, 1
    found = list(structures_of_seg(highdicom_seg(series, both, "BINARY"), stack_of(series)))
    assert all(np.array_equal(one.mask_zyx, both[..., k] > 0) for k, one in enumerate(found))


def test_a_segmentation_of_another_series_grid_is_refused():
    series = ct_series(np.zeros(SHAPE, np.int16))
    seg = highdicom_seg(series, a_mask() & 1, "BINARY")
    moved = stack_of(ct_series(np.zeros(SHAPE, np.int16), affine=affine_lps(origin_mm=(-32, -39.6, 100))))
    with pytest.raises(UnusableAnnotation, match="not that of the images"):
        list(structures_of_seg(seg, moved))


def test_a_segmentation_that_covers_a_part_of_the_images_is_laid_there():
    series = ct_series(np.zeros(SHAPE, np.int16))
    part = ct_series(np.zeros((3, 10, 12), np.int16), affine=affine_lps(origin_mm=(-27, -37, 104)))
    pixels = np.ones((3, 10, 12), np.uint8)
    (found, _) = structures_of_seg(highdicom_seg(part, pixels, "BINARY"), stack_of(series))
    assert found.mask_zyx[2:5, 3:13, 5:17].all()
    assert found.mask_zyx.sum() == 360


@pytest.mark.parametrize("lab", [(65535, 32896, 32896), (0, 32896, 32896)])
def test_white_and_black_come_back_from_cielab(lab):
    expected = 255 if lab[0] else 0
    assert np.abs(np.array(rgb_of_lab(list(lab))) - expected).max() <= 2


def others_stack(folder):
    return load(sorted(folder.glob("*.dcm")), InputRole(role="ct", modality="")).volume.stack


@pytest.mark.parametrize(("images", "seg", "mask"), [
    ("24x38x3/image", "24x38x3/seg/label.seg", "24x38x3/nrrd/label.nrrd"),
    ("23x38x3/image", "23x38x3/seg/label.seg", "23x38x3/nrrd/label.nrrd"),
    ("ct-3slice", "liver.dcm", "liver_seg.nrrd"),
    ("24x38x3/image", "sparse-labelmap-noppv.dcm", "sparse_labelmap_noppv_seg.nrrd"),
])
def test_a_segmentation_of_dcmqi_equals_the_mask_it_was_made_from(images, seg, mask):
    folder = shared_data(OTHERS) / "dcmqi" / "data" / "segmentations"
    stack = others_stack(folder / images)
    refers = references(folder / seg)
    assert stack.series_uid in refers.series_uids
    (found,) = structures_of(folder / seg, refers.kind, stack)
    (made_from,) = structures_of_mask(folder / mask, stack)
    assert np.array_equal(found.mask_zyx, made_from.mask_zyx)
    assert found.type.meaning == "Liver"


@pytest.mark.parametrize("name", ["liver_deflate", "liver_expb", "liver_j2k", "liver_nonbyte_aligned_rle", "liver_rle",
                                  "liver_nonbyte_aligned", "liver_nonbyte_aligned_deflate"])
def test_every_transfer_syntax_gives_the_same_voxels(name):
    data = shared_data(OTHERS)
    stack = others_stack(data / "dcmqi" / "data" / "segmentations" / "ct-3slice")
    store = data / "pydicom-data" / "data_store" / "data"
    (plain,), (packed,) = (list(structures_of_seg(opened(store / f"{stem}.dcm"), stack)) for stem in ("liver", name))
    assert np.array_equal(plain.mask_zyx, packed.mask_zyx)


def test_a_single_image_without_geometry_is_refused():
    seg = opened(shared_data(OTHERS) / "highdicom/data/test_files/seg_image_cr_binary.dcm")
    with pytest.raises(UnusableAnnotation, match="no position"):
        list(structures_of_seg(seg, stack_of(ct_series(np.zeros(SHAPE, np.int16)))))
