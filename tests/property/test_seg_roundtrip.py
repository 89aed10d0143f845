"""Any orientation, any spacing, any file order: a mask comes back on the same voxels at the same millimetres."""

import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.domain.model import InputRole
from dicomnode.encode.seg import encode_seg
from dicomnode.read.series import load
from tests.builders import affine_lps, ct_series, enhanced_ct, write_series
from tests.findings import LEFT_KIDNEY, LUNG, findings, stack_of, stamp

apply_affine = nibabel.affines.apply_affine
PLANES = {"axial": ((1, 0, 0), (0, 1, 0)), "sagittal": ((0, 1, 0), (0, 0, -1)), "coronal": ((1, 0, 0), (0, 0, -1))}


@st.composite
def orientations(draw):
    """Row and column cosines: a principal plane, an axis flipped or not, turned by up to 40 degrees about each axis."""
    row, column = (np.array(axis, float) for axis in PLANES[draw(st.sampled_from(sorted(PLANES)))])
    row, column = row * draw(st.sampled_from([1, -1])), column * draw(st.sampled_from([1, -1]))
    if draw(st.booleans()):
        row, column = column, row
    turn = np.eye(3)
    for axis, degrees in enumerate(draw(st.one_of(st.just((0, 0, 0)), st.tuples(*[st.integers(-40, 40)] * 3)))):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        one = np.eye(3)
        first, second = [k for k in range(3) if k != axis]
        one[first, first], one[second, second], one[first, second], one[second, first] = c, c, -s, s
        turn = one @ turn
    return turn @ row, turn @ column


@st.composite
def masks(draw):
    """(affine, labels): a small grid, anisotropic in every axis, with random voxels of two labels."""
    row, column = draw(orientations())
    spacing = draw(st.tuples(*[st.sampled_from([0.4, 0.7, 1.0, 1.3, 2.5, 5.0])] * 3))
    origin = draw(st.tuples(*[st.integers(-300, 300)] * 3))
    shape = draw(st.tuples(st.integers(2, 6), st.integers(3, 9), st.integers(3, 9)))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = chance.choice([0, 0, 0, LUNG.value, LEFT_KIDNEY.value], size=shape).astype(np.uint8)
    labels.flat[0] = LUNG.value
    labels.flat[-1] = LEFT_KIDNEY.value
    return affine_lps(spacing_zyx_mm=spacing, row=row, column=column, origin_mm=origin), labels


def assert_same_place(mask, mask_affine, expected, affine):
    """Each voxel of ``mask`` lies, in patient mm, on one voxel of ``expected``, within a hundredth of a voxel."""
    index = apply_affine(np.linalg.inv(affine), apply_affine(mask_affine, np.argwhere(mask)))
    assert np.abs(index - np.rint(index)).max() < 0.01
    found = sorted(map(tuple, np.rint(index).astype(int).tolist()))
    assert found == [tuple(place) for place in np.argwhere(expected).tolist()]


@settings(max_examples=40, deadline=None)
@given(masks())
def test_highdicoms_reader_finds_the_mask_at_the_same_millimetres(case):
    affine, labels = case
    series = ct_series(np.zeros(labels.shape), affine=affine)
    encoded = encode_seg(findings(stack_of(series), labels), series, stamp())
    volume = hd.seg.segread(BytesIO(encoded.payload)).get_volume(combine_segments=True)
    for number, value in ((1, LUNG.value), (2, LEFT_KIDNEY.value)):
        assert_same_place(volume.array == number, volume.affine, labels == value, affine)


@settings(max_examples=25, deadline=None)
@given(masks(), st.randoms(use_true_random=False))
def test_files_in_any_order_read_and_encoded_keep_each_voxel_on_its_own_image(case, chance):
    affine, labels = case
    series = ct_series(labels.astype(np.int16) * 100 - 500, affine=affine)
    order = list(range(len(series)))
    chance.shuffle(order)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_series(Path(folder), [series[k] for k in order])
        loaded = load(paths, InputRole(role="ct"))
    mask = ((loaded.volume.values_zyx + 500) // 100).astype(np.uint8)  # the network that sees perfectly
    encoded = encode_seg(findings(loaded.volume.stack, mask), loaded.sources, stamp())
    seg = hd.seg.segread(BytesIO(encoded.payload))
    uids = [image.SOPInstanceUID for image in series]
    drawn = seg.get_pixels_by_source_instance(uids, combine_segments=True, ignore_spatial_locations=False,
                                              assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(drawn == 1, labels == LUNG.value)
    np.testing.assert_array_equal(drawn == 2, labels == LEFT_KIDNEY.value)


@settings(max_examples=25, deadline=None)
@given(masks(), st.randoms(use_true_random=False))
def test_a_multi_frame_image_with_frames_in_any_order_keeps_each_voxel_at_its_place(case, chance):
    affine, labels = case
    order = list(range(len(labels)))
    chance.shuffle(order)
    image = enhanced_ct(np.zeros(labels.shape), affine=affine, order=order)
    encoded = encode_seg(findings(stack_of([image]), labels), [image], stamp())
    volume = hd.seg.segread(BytesIO(encoded.payload)).get_volume(combine_segments=True)
    for number, value in ((1, LUNG.value), (2, LEFT_KIDNEY.value)):
        assert_same_place(volume.array == number, volume.affine, labels == value, affine)


@pytest.mark.skipif(not (Path(sys.executable).parent / "segimage2itkimage").exists(),
                    reason="segimage2itkimage is not installed: pip install dcmqi")
@settings(max_examples=12, deadline=None)
@given(masks())
def test_dcmqi_finds_the_mask_at_the_same_millimetres(case):
    affine, labels = case
    series = ct_series(np.zeros(labels.shape), affine=affine)
    encoded = encode_seg(findings(stack_of(series), labels), series, stamp())
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "seg.dcm").write_bytes(encoded.payload)
        subprocess.run(
            [str(Path(sys.executable).parent / "segimage2itkimage"), "--inputDICOM", str(folder / "seg.dcm"),
             "--outputDirectory", str(folder), "-t", "nii", "-p", "out"], check=True, capture_output=True, timeout=60)
        for number, value in ((1, LUNG.value), (2, LEFT_KIDNEY.value)):
            image = nibabel.load(folder / f"out-{number}.nii.gz")
            assert_same_place(np.asarray(image.dataobj) > 0, np.diag([-1, -1, 1, 1]) @ image.affine, labels == value,
                              affine)
    finally:
        shutil.rmtree(folder)
