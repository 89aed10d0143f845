"""Scores against hand-made cases and against MONAI's own metrics."""

import numpy as np
import pytest
import torch
from monai.apps.detection.metrics.coco import COCOMetric
from monai.apps.detection.metrics.matching import matching_batch
from monai.data import box_utils
from monai.metrics import (
    ConfusionMatrixMetric,
    DiceMetric,
    HausdorffDistanceMetric,
    MeanIoU,
    ROCAUCMetric,
    SurfaceDistanceMetric,
)
from scipy import ndimage

from dicomnode.train.score.bootstrap import bootstrap, draws
from dicomnode.train.score.overlap import counts, dice, iou, surface_distance
from dicomnode.train.score.precision import IOUS, Ranked, ScanBoxes, box_iou, mean_average_precision
from dicomnode.train.score.ranking import roc_auc, roc_points


def _masks(seed):
    rng = np.random.default_rng(seed)
    return [ndimage.gaussian_filter(rng.normal(size=(14, 20, 24)), 2.0) > 0.02 * k for k in (1, 2)]


def _monai(metric, found, truth, **options: object):
    first, second = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (found, truth))
    return float(metric(first, second, **options))


@pytest.mark.parametrize("seed", range(3))
def test_dice_and_iou_are_those_of_monai(seed):
    found, truth = _masks(seed)
    assert dice(found, truth) == pytest.approx(_monai(DiceMetric(), found, truth), abs=1e-6)
    assert iou(found, truth) == pytest.approx(_monai(MeanIoU(), found, truth), abs=1e-6)


@pytest.mark.parametrize("name", ["precision", "recall", "specificity", "accuracy", "f1 score"])
def test_voxelwise_ratios_are_those_of_monai(name):
    found, truth = _masks(5)
    metric = ConfusionMatrixMetric(metric_name="sensitivity" if name == "recall" else name)
    metric(torch.from_numpy(found[None, None].astype(float)), torch.from_numpy(truth[None, None].astype(float)))
    ours = getattr(counts(found, truth), "dice" if name == "f1 score" else name)
    assert ours == pytest.approx(float(metric.aggregate()[0]), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_surface_distances_are_those_of_monai_on_an_uneven_grid(seed):
    found, truth = _masks(seed + 10)
    spacing = (3.0, 0.8, 1.1)
    ours = surface_distance(found, truth, spacing)
    hd95 = HausdorffDistanceMetric(include_background=True, percentile=95)
    assd = SurfaceDistanceMetric(include_background=True, symmetric=True)
    assert ours.hd95_mm == pytest.approx(_monai(hd95, found, truth, spacing=list(spacing)), abs=1e-4)
    assert ours.assd_mm == pytest.approx(_monai(assd, found, truth, spacing=list(spacing)), abs=1e-4)


def test_a_cube_moved_by_two_voxels_lies_two_spacings_off():
    found, truth = np.zeros((12, 12, 12), bool), np.zeros((12, 12, 12), bool)
    truth[3:7, 3:7, 3:7] = True
    found[5:9, 3:7, 3:7] = True
    assert surface_distance(found, truth, (2.5, 1.0, 1.0)).hd95_mm == pytest.approx(5.0)
    assert dice(found, truth) == pytest.approx(0.5)
    assert iou(found, truth) == pytest.approx(1 / 3)


def test_what_has_no_denominator_is_no_number():
    empty, full = np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)
    assert np.isnan([dice(empty, empty), iou(empty, empty), counts(empty, empty).recall]).all()
    assert dice(full, empty) == dice(empty, full) == 0.0
    assert counts(empty, empty).specificity == counts(empty, empty).accuracy == 1.0
    assert np.isnan(counts(full, full).specificity)
    assert np.isnan(surface_distance(empty, full, (1, 1, 1)).hd95_mm)


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        counts(np.zeros(2, bool), np.zeros(3, bool))


def test_box_overlap_is_that_of_monai():
    rng = np.random.default_rng(3)
    first, second = (np.hstack([low := rng.uniform(0, 5, (6, 3)), low + rng.uniform(0.5, 4, (6, 3))]) for _ in "ab")
    assert box_iou(first, second) == pytest.approx(box_utils.box_iou(first, second), abs=1e-5)
    assert box_iou(np.empty((0, 6)), second).shape == (0, 6)


def _scans(seed, count=8):
    rng = np.random.default_rng(seed)
    scans = []
    for _ in range(count):
        low = rng.uniform(0, 80, (rng.integers(1, 5), 3))
        truth = np.hstack([low, low + rng.uniform(4, 12, low.shape)])
        near = truth[rng.random(len(truth)) < 0.8] + rng.normal(0, 0.9, (1, 6))
        stray_low = rng.uniform(0, 80, (rng.integers(0, 4), 3))
        found = np.vstack([near, np.hstack([stray_low, stray_low + 6.0])])
        scans.append(ScanBoxes(found=found, scores=rng.random(len(found)), truth=truth))
    return scans


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_monai(seed):
    """MONAI counts in single precision, which can move one of the 101 recalls by one detection."""
    scans = _scans(seed)
    metric = COCOMetric(classes=["lesion"], iou_list=[0.1, 0.5], iou_range=(0.1, 0.5, 0.05), max_detection=[100])
    (theirs, _) = metric(matching_batch(
        iou_fn=box_utils.box_iou, iou_thresholds=metric.iou_thresholds,
        pred_boxes=[s.found for s in scans], pred_scores=[s.scores for s in scans],
        pred_classes=[np.zeros(len(s.found), int) for s in scans],
        gt_boxes=[s.truth for s in scans], gt_classes=[np.zeros(len(s.truth), int) for s in scans]))
    assert mean_average_precision(scans) == pytest.approx(theirs["mAP_IoU_0.10_0.50_0.05_MaxDet_100"], abs=0.011)
    for least in (0.1, 0.5):
        ours = Ranked(scans).average_precision(least)
        assert ours == pytest.approx(theirs[f"AP_IoU_{least:.2f}_MaxDet_100"], abs=0.011)


def test_a_perfect_detector_has_an_average_precision_of_one_and_a_blind_one_of_zero():
    truth = np.array([[0, 0, 0, 4, 4, 4], [10, 10, 10, 14, 14, 14]], float)
    perfect = ScanBoxes(found=truth, scores=np.array([0.9, 0.8]), truth=truth)
    blind = ScanBoxes(found=np.empty((0, 6)), scores=np.empty(0), truth=truth)
    assert mean_average_precision([perfect]) == 1.0
    assert mean_average_precision([blind]) == 0.0
    assert np.isnan(mean_average_precision([ScanBoxes(found=truth, scores=np.ones(2), truth=np.empty((0, 6)))]))


def test_two_detections_of_one_box_are_one_hit_and_one_error():
    truth = np.array([[0, 0, 0, 4, 4, 4]], float)
    scan = ScanBoxes(found=np.vstack([truth, truth]), scores=np.array([0.6, 0.9]), truth=truth)
    assert Ranked([scan]).average_precision(0.5) == 1.0
    late = ScanBoxes(found=np.vstack([truth + 50, truth]), scores=np.array([0.9, 0.6]), truth=truth)
    assert Ranked([late]).average_precision(0.5) == 0.5


def test_a_scan_drawn_twice_weighs_as_two_in_average_precision():
    first, second = _scans(9, count=2)
    assert Ranked([first, second]).mean_average_precision([2, 1]) == \
        pytest.approx(mean_average_precision([first, first, second]), abs=1e-9)
    assert (IOUS[0], IOUS[-1]) == (0.1, 0.5)


def test_the_area_under_the_roc_is_that_of_monai_also_where_scores_are_equal():
    rng = np.random.default_rng(0)
    scores, truth = np.round(rng.random(40), 1), rng.random(40) < 0.4
    metric = ROCAUCMetric()
    metric(torch.from_numpy(scores), torch.from_numpy(truth.astype(float)))
    assert roc_auc(scores, truth) == pytest.approx(metric.aggregate(), abs=1e-9)
    false, true = roc_points(scores, truth)
    assert np.trapezoid(true, false) == pytest.approx(roc_auc(scores, truth))
    assert np.isnan(roc_auc([0.5, 0.6], [True, True]))


def test_the_same_cases_and_seed_give_the_same_interval():
    values = np.random.default_rng(1).normal(0.8, 0.05, 40)
    first, second, other = bootstrap(values), bootstrap(values), bootstrap(values, seed=1)
    assert first == second
    assert other != first
    assert first.low < first.value < first.high
    assert first.high - first.low == pytest.approx(2 * 1.96 * values.std() / 40**0.5, rel=0.15)


def test_cases_without_a_number_are_left_out_of_mean_and_interval():
    assert bootstrap([0.5, float("nan"), 0.7, 0.9]) == bootstrap([0.5, 0.7, 0.9])
    assert bootstrap([float("nan")]).cases == 0
    two = bootstrap([0.5, 0.7])
    assert two.value == pytest.approx(0.6)
    assert np.isnan(two.low)
    assert (draws(10, 0).sum(axis=1) == 10).all()
