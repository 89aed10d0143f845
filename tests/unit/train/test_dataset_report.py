"""The page about a data set shows what is in it, where it lies, and the patient's right at the left."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dicomnode.train.dataset.pictures import drawn, seen, slices_of
from dicomnode.train.dataset.reader import DatasetLabel, DatasetWriter
from dicomnode.train.dataset.report import write_report
from tests.builders import affine_lps

SHAPE = (8, 20, 24)
LABELS = [DatasetLabel(value=1, name="Organ", colour_rgb=(255, 0, 0)),
          DatasetLabel(value=2, name="Spot", colour_rgb=(0, 255, 0), lesion=True)]


def a_writer(folder, task="segmentation", channels=("ct",), modality="CT"):
    return DatasetWriter(folder, name="d", task=task, channels=channels, modality=modality, labels=LABELS)


def written(folder, *, task="segmentation", affine=None, **case: object):
    writer = a_writer(folder, task)
    writer.add(id="c", patient="p", images_zyx=[np.zeros(SHAPE, np.int16)],
               affine_lps_mm=affine_lps() if affine is None else affine, **case)
    return writer.close()


def coloured(dataset, place, channel=0):
    """Return where a picture is red and where green, as extents (top, left, bottom, right) in fractions."""
    (case,) = dataset.training
    picture = drawn(seen(case), channel, place, dataset, case).astype(int)
    found = []
    for part in (0, 1):
        rows, columns = np.nonzero(picture[..., part] - picture.min(axis=2) > 100)
        found.append([rows.min() / picture.shape[0], columns.min() / picture.shape[1],
                      (rows.max() + 1) / picture.shape[0], (columns.max() + 1) / picture.shape[1]]
                     if len(rows) else None)
    return found


def test_axial_slices_show_front_above_and_the_right_at_the_left(tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[3, 2:6, 1:7] = 1  # rows run to the back, columns to the left
    red, green = coloured(written(tmp_path, label_zyx=mask), 3)
    assert np.allclose(red, [2 / 20, 1 / 24, 6 / 20, 7 / 24], atol=0.01)
    assert green is None


@pytest.mark.parametrize(("row", "column", "expected"), [
    ((-1, 0, 0), (0, -1, 0), [14 / 20, 17 / 24, 18 / 20, 23 / 24]),  # stored upside down: turned for the viewer
    ((0, 1, 0), (0, 0, -1), [2 / 20, 1 / 24, 6 / 20, 7 / 24]),  # sagittal: head above, front at the left
    ((1, 0, 0), (0, 0, -1), [2 / 20, 1 / 24, 6 / 20, 7 / 24]),  # coronal: head above
])
def test_other_orientations_are_shown_as_a_radiologist_expects(tmp_path, row, column, expected):
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:5, 2:6, 1:7] = 1
    dataset = written(tmp_path, affine=affine_lps(row=row, column=column), label_zyx=mask)
    (case,) = dataset.training
    red, _ = coloured(dataset, slices_of(seen(case))["most marked"])
    assert np.allclose(red, expected, atol=0.01)


def test_boxes_are_drawn_where_they_lie_and_only_on_their_slices(tmp_path):
    affine = affine_lps()
    low, high = (affine @ (2.5, 3.5, 5.5, 1))[:3], (affine @ (4.5, 9.5, 12.5, 1))[:3]
    box = np.array([[*((low + high) / 2), *(high - low)]])
    dataset = written(tmp_path, task="detection", affine=affine, boxes_lps_mm=box, box_labels=[1])
    (case,) = dataset.training
    places = slices_of(seen(case))
    assert places == {"largest box": 4}
    red, green = coloured(dataset, 4)
    assert red is None
    assert np.allclose(green, [4 / 20, 6 / 24, 10 / 20, 13 / 24], atol=0.01)
    assert coloured(dataset, 6) == [None, None]


def test_the_slices_worth_seeing_are_found_once_each(tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 2:12, 2:12], mask[2, 2:12, 2:14], mask[6, 3, 3] = 1, 1, 2
    (case,) = written(tmp_path, label_zyx=mask).training
    assert slices_of(seen(case)) == {"most marked": 2, "rarest label": 6, "middle": 4}


def test_the_page_says_what_is_odd_and_what_is_missing(tmp_path):
    writer = a_writer(tmp_path / "d", channels=("t1", "t2"), modality="MR")
    for number in range(20):
        writer.add(id=f"c{number}", patient=f"p{number}", images_zyx=[np.full(SHAPE, k, np.int16) for k in (5, 9)],
                   affine_lps_mm=affine_lps(), label_zyx=np.ones(SHAPE, np.uint8),
                   group={"maker": f"Maker <{number}>" if number else "", "slice_mm": 1 + number / 7, "slices": 8})
    writer.leave_out("series cabc", "MissingSlices: gap of 4.0 mm <b>")
    writer.leave_out("file fdef", "UnusableAnnotation: its grid is not that of the images: 2 beside")
    page = write_report(writer.close(), {"c3": ("2 voxels <odd>",)}, ("1 studies & one PatientID",)).read_text()
    for text in ("No training case shows <b>Spot</b>: nothing can be learned of it", "2 voxels &lt;odd&gt;",
                 "1 studies &amp; one PatientID", "Maker &lt;1&gt;", "gap of 4.0 mm &lt;b&gt;", "others",
                 ">MissingSlices<", ">its grid is not that of the images<"):
        assert text in page
    assert len(re.findall("<img ", page)) == 20 * 3  # two channels, and the middle
    assert "<script" not in page
    assert not re.search(r'(src|href)="(http|//)', page)


def test_boxes_and_classes_are_counted_by_label(tmp_path):
    boxes = np.array([[0, 0, 104, 5, 5, 5], [2, 2, 106, 8, 4, 4]], float)
    page = write_report(written(tmp_path / "d", task="detection", boxes_lps_mm=boxes, box_labels=[1, 1])).read_text()
    assert "Spot × 2, 5–8 mm" in page
    page = write_report(written(tmp_path / "c", task="classification", klass=1)).read_text()
    assert "Spot ●" in page
