"""Whatever bytes an annotation file holds, it is read or refused in our own words; nothing else ever comes out."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomnode.encode.seg import encode_seg
from dicomnode.encode.sr import encode_reports
from dicomnode.errors import UnusableAnnotation
from dicomnode.read.annotations import references
from dicomnode.read.marks import boxes_of, structures_of
from tests.builders import ct_series
from tests.findings import block, findings, stack_of, stamp

SHAPE = (4, 12, 14)
SERIES = ct_series(np.zeros(SHAPE, np.int16))
STACK = stack_of(SERIES)
MASK = np.zeros(SHAPE, np.uint8)
MASK[1:3, 2:9, 3:10] = 1
KINDS = {"seg.dcm": "SEG", "sr.dcm": "SR", "mask.nii": "MASK", "mask.nrrd": "MASK"}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("annotations")
    made = findings(STACK, MASK, lesions=[block(SHAPE, slice(1, 3), slice(3, 5), slice(4, 6))])
    seg = encode_seg(made, SERIES, stamp())
    reports = encode_reports([made], {STACK.series_uid: SERIES}, stamp(), [seg])
    (folder / "seg.dcm").write_bytes(seg.payload)
    (folder / "sr.dcm").write_bytes(next(one.payload for one in reports if one.group == "findings"))
    affine = np.diag((-1.0, -1.0, 1.0, 1.0)) @ STACK.affine_lps_mm[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(MASK.transpose(2, 1, 0), affine), folder / "mask.nii")
    head = ("NRRD0004\ntype: uchar\ndimension: 3\nspace: left-posterior-superior\nsizes: 14 12 4\n"
            "space directions: (1,0,0) (0,1,0) (0,0,2)\nendian: little\nencoding: raw\nspace origin: (-32,-40,100)\n\n")
    (folder / "mask.nrrd").write_bytes(head.encode() + MASK.transpose(2, 1, 0).tobytes(order="F"))
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_the_files_that_are_damaged_below_are_sound(files, name):
    assert list(structures_of(files / name, KINDS[name], STACK)) or boxes_of(files / name, KINDS[name], STACK)


@pytest.mark.filterwarnings("ignore")  # pydicom's and numpy's about the damage
@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_annotation_is_read_or_refused_in_our_words(files, name, data):
    content = bytearray((files / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content = content or bytearray(b"x")
        place = data.draw(st.integers(0, min(len(content), 4000) - 1))
        change = data.draw(st.sampled_from(["byte", "byte", "cut", "insert", "end"]))
        if change == "byte":
            content[place] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del content[place:place + data.draw(st.integers(1, 30))]
        elif change == "insert":
            content[place:place] = data.draw(st.binary(min_size=1, max_size=12))
        else:
            del content[max(1, place):]
    path = files / f"damaged-{name}"
    path.write_bytes(content)
    try:
        if KINDS[name] != "MASK":
            references(path)
        for one in structures_of(path, KINDS[name], STACK):
            assert one.mask_zyx.shape == SHAPE
        assert all(np.isfinite(box.size_lps_mm).all() for box in boxes_of(path, KINDS[name], STACK))
    except UnusableAnnotation as error:
        refused = str(error)
        assert refused
