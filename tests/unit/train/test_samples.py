"""What a network is shown: truth on its grid, patches where they belong, the same whoever draws them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from dicomnode.errors import UnusableDataset
from dicomnode.train.dataset.reader import Dataset
from dicomnode.train.fit.contact_sheet import contact_sheet
from dicomnode.train.fit.crops import boxes_in_patch, choose_start, cut_patch
from dicomnode.train.fit.loader import Timetable, batches
from dicomnode.train.fit.prepare import boxes_on_grid, label_on_grid
from dicomnode.train.fit.segmentation import SegmentationTask
from dicomnode.train.fit.tasks import PackedImage, Prepared
from tests.training import PREPROCESSING, small_dataset, small_recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return small_dataset(tmp_path_factory.mktemp("data") / "balls")


@pytest.fixture(scope="module")
def task(dataset: Dataset) -> SegmentationTask:
    return SegmentationTask(small_recipe(places={"dark": {"below": 0.3}}, around={"dark": 1.0}), dataset, CPU)


@pytest.fixture(scope="module")
def cases(task: SegmentationTask, dataset: Dataset) -> tuple[Prepared, ...]:
    return tuple(task.prepare(case) for case in dataset.training)


def test_a_packed_image_comes_back_to_within_half_a_step():
    image = np.random.default_rng(0).normal(0, 300, (2, 5, 6, 7)).astype(np.float32)
    back = PackedImage.of(image).cut((slice(None),) * 3)
    limit = (image.max(axis=(1, 2, 3)) - image.min(axis=(1, 2, 3))) / 65535 / 2
    assert (np.abs(back - image).max(axis=(1, 2, 3)) <= limit * 1.01 + 1e-4).all()


def test_truth_follows_the_preprocessing_to_its_grid(tmp_path: Path):
    dataset = small_dataset(tmp_path / "balls", training=1, validation=0)
    spaced = [*PREPROCESSING[:3], {"_target_": "Spacingd", "keys": "image", "pixdim": [1.1, 1.7, 2.6],
                                   "mode": "bilinear"}, *PREPROCESSING[3:]]
    prepared = SegmentationTask(small_recipe(preprocessing=spaced), dataset, CPU).prepare(dataset.training[0])
    bright = prepared.image.cut((slice(None),) * 3)[0] > 0.5
    assert prepared.label_xyz is not None
    middles = [np.argwhere(mask).mean(axis=0) * [1.1, 1.7, 2.6] for mask in (bright, prepared.label_xyz == 1)]
    assert np.abs(middles[0] - middles[1]).max() < 0.4
    overlap = 2 * (bright & (prepared.label_xyz == 1)).sum() / (bright.sum() + (prepared.label_xyz == 1).sum())
    assert overlap > 0.9


def test_a_box_lands_on_the_voxels_of_its_mask(dataset: Dataset, cases: tuple[Prepared, ...]):
    case, prepared = dataset.training[0], cases[0]
    label = nibabel.load(case.label)
    found = np.argwhere(np.asarray(label.dataobj) == 1)
    corners_ras = np.stack([found.min(axis=0) - 0.5, found.max(axis=0) + 0.5]) @ label.affine[:3, :3].T \
        + label.affine[:3, 3]
    corners_lps = corners_ras * [-1, -1, 1]
    box = np.concatenate([corners_lps.mean(axis=0), np.abs(corners_lps[1] - corners_lps[0])])
    assert prepared.label_xyz is not None
    mine = np.argwhere(prepared.label_xyz == 1)
    assert np.allclose(boxes_on_grid(box[None], prepared.affine_ras_mm),
                       [[*mine.min(axis=0), *(mine.max(axis=0) + 1)]], atol=1e-3)


def test_label_values_that_do_not_fit_a_byte_are_refused(tmp_path: Path):
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4), 300, np.uint16), np.eye(4)), tmp_path / "label.nii.gz")
    with pytest.raises(UnusableDataset, match="300"):
        label_on_grid(tmp_path / "label.nii.gz", np.eye(4), (4, 4, 4))


def test_patches_are_centred_on_the_places_that_are_asked_for(cases: tuple[Prepared, ...]):
    rng = np.random.default_rng(0)
    for place, wanted in (("Ball", 1), ("dark", 0)):
        for _ in range(20):
            start = choose_start(cases[0], (3, 3, 3), {place: 1.0}, 0.0, rng)
            _, label = cut_patch(cases[0], start, (3, 3, 3))
            assert label is not None
            assert (label == wanted).any()


def test_a_patch_goes_on_with_the_lowest_value_beyond_the_image(cases: tuple[Prepared, ...]):
    size = (30, 30, 30)
    start = choose_start(cases[0], size, {"anywhere": 1.0}, 0.2, np.random.default_rng(0))
    image, label = cut_patch(cases[0], start, size)
    assert image.shape == (1, *size)
    assert label is not None
    assert not label[..., -8:].any()
    assert np.allclose(image[..., -8:], cases[0].image.low[0])


def test_boxes_move_with_their_patch_and_are_clipped_to_it(cases: tuple[Prepared, ...]):
    prepared = Prepared(case=cases[0].case, image=cases[0].image, affine_ras_mm=np.eye(4),
                        boxes=np.array([[4, 4, 4, 12, 8, 8], [0, 0, 0, 2, 2, 2]], np.float32),
                        box_labels=np.array([3, 5]))
    boxes, labels = boxes_in_patch(prepared, (3, 3, 3), (7, 7, 7))
    assert boxes.tolist() == [[1, 1, 1, 7, 5, 5]]
    assert labels.tolist() == [3]


def drawn(
    task: SegmentationTask, cases: tuple[Prepared, ...], **how: int
) -> list[tuple[tuple[str, ...], torch.Tensor]]:
    stages = small_recipe(steps=None, stages=[{"steps": 2}, {"steps": 3, "batch_size": 4}]).stages
    timetable = Timetable(stages, len(cases), 7)
    given = {"first_step": 0, "workers": 0, **how}
    return [(batch.case_ids, batch.stacked("image"))
            for _, batch in batches(task.draw, cases, timetable, seed=7, device=CPU, **given)]


def test_samples_are_the_same_however_many_workers_draw_them(task: SegmentationTask, cases: tuple[Prepared, ...]):
    alone = drawn(task, cases)
    for workers in (1, 2):
        helped = drawn(task, cases, workers=workers)
        assert [ids for ids, _ in helped] == [ids for ids, _ in alone]
        assert all(torch.equal(mine, theirs) for (_, mine), (_, theirs) in zip(alone, helped, strict=True))


def test_a_later_first_step_draws_what_it_would_have_drawn(task: SegmentationTask, cases: tuple[Prepared, ...]):
    assert all(torch.equal(mine, theirs) for (_, mine), (_, theirs)
               in zip(drawn(task, cases)[3:], drawn(task, cases, first_step=3), strict=True))


def test_processes_share_one_batch_between_them(task: SegmentationTask, cases: tuple[Prepared, ...]):
    whole = drawn(task, cases)
    halves = [drawn(task, cases, rank=rank, processes=2) for rank in range(2)]
    for (_, images), (_, even), (_, odd) in zip(whole, *halves, strict=True):
        assert torch.equal(images[0::2], even)
        assert torch.equal(images[1::2], odd)


def test_every_case_comes_once_before_any_comes_again():
    timetable = Timetable(small_recipe(steps=9).stages, 6, seed=1)
    order = [timetable.case((step, slot)) for step in range(9) for slot in range(2)]
    assert [sorted(order[begin:begin + 6]) for begin in (0, 6, 12)] == [list(range(6))] * 3
    assert order[:6] != order[6:12]


def test_the_contact_sheet_shows_samples_and_names_the_random_steps(
    task: SegmentationTask, cases: tuple[Prepared, ...]
):
    recipe = small_recipe()
    sheet = contact_sheet(task, cases, recipe.stages[0], ["RandFlip: prob 0.5"], [(240, 90, 70)], 0)
    pixels = np.asarray(sheet)
    assert (pixels.reshape(-1, 3) == (240, 90, 70)).all(axis=1).sum() > 50
    assert (pixels[-40:] < 100).any()
