"""A data set of phantoms is the same for the same arguments, and no phantom is in two splits."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest

from dicomnode.errors import UnusableDataset
from dicomnode.phantom.chest import chest_ct
from dicomnode.train.dataset.phantom_sets import (
    KINDS,
    MOST_CASES,
    SEEDS_PER_SET,
    SPLIT_OFFSETS,
    boxes_of,
    write_phantoms,
)
from dicomnode.train.dataset.reader import read_dataset

if TYPE_CHECKING:
    from pathlib import Path

LUNG_HU = -500


@pytest.fixture(scope="module")
def nodules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets") / "nodules"
    write_phantoms("nodules", root, cases=1, validation=1, test=1, seed=3)
    return root


def test_a_set_of_phantoms_reads_back_as_a_data_set(nodules: Path) -> None:
    found = read_dataset(nodules)

    assert found.task == "detection"
    assert [len(found.training), len(found.validation), len(found.test)] == [1, 1, 1]
    assert len(found.training[0].boxes_lps_mm) >= 6
    assert found.training[0].box_labels == (0,) * len(found.training[0].boxes_lps_mm)
    assert found.made_by["phantoms"] == "nodules"


def test_the_number_of_processes_changes_no_byte(nodules: Path, tmp_path: Path) -> None:
    again = write_phantoms("nodules", tmp_path / "again", cases=1, validation=1, test=1, seed=3, processes=2)

    assert again.digest == read_dataset(nodules).digest


def test_boxes_lie_round_what_is_denser_than_lung(nodules: Path) -> None:
    case = read_dataset(nodules, verify=False).test[0]
    image = nibabel.load(case.images[0])
    hu = np.asarray(image.dataobj)
    to_index = np.linalg.inv(image.affine)

    for x, y, z, *_ in case.boxes_lps_mm:
        i, j, k = np.rint(to_index @ (-x, -y, z, 1.0))[:3].astype(int)
        assert hu[i - 1 : i + 2, j - 1 : j + 2, k].max() > LUNG_HU


def test_a_box_is_a_cube_with_the_nodules_diameter_at_its_centre() -> None:
    phantom = chest_ct(5, shape_zyx=(60, 120, 120), spacing_zyx_mm=(4.0, 3.0, 3.0), nodules=2)

    boxes = boxes_of(phantom)

    z, y, x = phantom.nodules[0].centre_index_zyx
    assert boxes[0, :3] == pytest.approx((x * 3.0, y * 3.0, z * 4.0))
    assert boxes[0, 3:] == pytest.approx([phantom.nodules[0].diameter_mm] * 3)


def test_the_seeds_of_the_splits_never_meet() -> None:
    starts = sorted(SPLIT_OFFSETS.values())

    assert all(after - before >= MOST_CASES for before, after in pairwise([*starts, SEEDS_PER_SET]))
    assert starts[0] >= MOST_CASES, "low seeds are kept for demonstrations and self-tests"


def test_every_kind_names_each_label_in_dicom_terms() -> None:
    for kind in KINDS.values():
        assert all(label.category and label.type for label in kind.labels)


@pytest.mark.parametrize(("change", "said"), [
    ({"kind": "liver"}, "'liver': allowed are chest, nodules, brain"),
    ({"seed": -1}, "seed = -1"),
    ({"cases": MOST_CASES + 1}, f"cases = {MOST_CASES + 1}"),
])
def test_what_no_set_can_be_made_of_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(UnusableDataset, match=said):
        write_phantoms(**{"kind": "chest", "root": tmp_path, "cases": 1, "validation": 0, "test": 0, **change})  # type: ignore[arg-type]
