"""Scores over cases, by group, and between two models, from rows made by hand."""

from pathlib import Path

import numpy as np
import pytest

from dicomnode.train.dataset.cases import Case
from dicomnode.train.score.bootstrap import bootstrap
from dicomnode.train.score.case_scores import CaseScores, LabelScores, LesionScores
from dicomnode.train.score.froc import ScanHits
from dicomnode.train.score.overlap import Counts
from dicomnode.train.score.precision import ScanBoxes
from dicomnode.train.score.statistics import estimates, means, paired, ratios
from dicomnode.train.score.subgroups import case_groups, lesion_bins, size_groups
from dicomnode.train.score.summary import _whole_accuracy, families


def _row(name, *, overlap=None, group=None, lesions=None, probabilities=None, truth="", given=""):
    return CaseScores(case=Case(id=name, patient=name, images=(Path("x"),)), group=group or {},
                      labels={"Lung": LabelScores(overlap=overlap or {}, lesions=lesions)},
                      probabilities=probabilities or {}, truth=truth, given=given)


def _all(family):
    return dict(zip(family.metrics, estimates(family, np.arange(len(family.known)), 0), strict=True))


def test_a_mean_and_its_interval_are_those_of_the_plain_bootstrap():
    values = np.random.default_rng(3).normal(0.8, 0.1, 20)
    family = means([{"dice": value} for value in values], ["dice"])
    found, plain = _all(family)["dice"], bootstrap(values)
    assert (found.value, found.low, found.high, found.cases) == pytest.approx(
        (plain.value, plain.low, plain.high, plain.cases))


def test_ratios_add_up_before_they_divide():
    family = ratios([Counts(true_positive=1, false_positive=0, false_negative=0, true_negative=0),
                     Counts(true_positive=1, false_positive=3, false_negative=2, true_negative=4)])
    found = {metric: one.value for metric, one in _all(family).items()}
    assert found == pytest.approx({"precision": 2 / 5, "recall": 2 / 4, "f1": 4 / 9, "specificity": 4 / 7,
                                   "accuracy": 6 / 11})


def test_a_paired_difference_is_sharper_than_two_intervals():
    rng = np.random.default_rng(1)
    hard = rng.normal(0.7, 0.15, 30)
    first, second = (means([{"dice": value} for value in hard + shift], ["dice"]) for shift in (0.0, 0.02))
    (difference,) = (one.estimate for one in paired(first, second, np.arange(30), 0))
    assert difference.value == pytest.approx(0.02)
    assert difference.low == pytest.approx(0.02)
    (alone,) = estimates(first, np.arange(30), 0)
    assert alone.high - alone.low > 0.05


def test_a_missed_structure_is_no_gain_over_a_model_that_found_it_badly():
    found = [{"dice": 0.9, "hd95_mm": 2.0}, {"dice": 0.9, "hd95_mm": 2.0}, {"dice": 0.4, "hd95_mm": 40.0}]
    missed = [*found[:2], {"dice": 0.0}]
    first, second = (means(rows, ("dice", "hd95_mm")) for rows in (found, missed))
    dice, hd95 = paired(first, second, np.arange(3), 0)
    assert (dice.first, dice.second, dice.estimate.cases) == pytest.approx((2.2 / 3, 1.8 / 3, 3))
    assert (hd95.first, hd95.second, hd95.estimate.value, hd95.estimate.cases) == (2.0, 2.0, 0.0, 2)


def test_below_three_cases_there_is_a_value_and_no_interval():
    found = _all(means([{"dice": 0.5}, {"dice": 0.7}], ["dice"]))["dice"]
    assert found.value == pytest.approx(0.6)
    assert np.isnan(found.low)


def test_three_cases_of_one_patient_who_has_a_number_are_no_interval():
    family = means([{"hd95_mm": value} for value in (1.0, 2.0, 3.0, np.nan, np.nan)], ["hd95_mm"])
    (found,) = estimates(family, np.arange(5), 0, np.array([0, 0, 0, 1, 2]))
    assert (found.value, found.cases) == (2.0, 3)
    assert np.isnan(found.low)


def test_a_case_whose_class_the_model_does_not_know_is_no_right_answer():
    rows = [_row("a", probabilities={"Lung": 0.9}, truth="Lung", given="Lung"),
            _row("b", probabilities={"Lung": 0.1}, truth="Lung", given=""),
            _row("c", probabilities={"Lung": 0.1}, truth="", given="")]
    assert (_whole_accuracy(rows, 0).estimate.value, _whole_accuracy(rows, 0).estimate.cases) == (0.5, 2)


def test_cases_are_grouped_by_text_by_slice_distance_and_by_thirds():
    rows = [_row(str(k), group={"maker": "AB"[k % 2], "slice_mm": [1.0, 1.5, 3.0][k % 3], "age": 20.0 + k,
                                "site": "same", "serial": f"n{k}"})
            for k in range(15)]
    found = {(group.key, group.name): len(group.cases) for group in case_groups(rows)}
    assert found["all", "all"] == 15
    assert (found["maker", "A"], found["maker", "B"]) == (8, 7)
    assert (found["slice_mm", "up to 1.5 mm"], found["slice_mm", "2.5 to 4 mm"]) == (10, 5)
    assert sorted(count for (key, _), count in found.items() if key == "age") == [5, 5, 5]
    assert not {key for key, _ in found} & {"site", "serial"}


def test_structures_are_grouped_by_their_size_and_absent_ones_are_in_no_group():
    rows = [_row(str(k), overlap={"truth_ml": float(k)}) for k in range(10)]
    groups = size_groups(rows, "Lung")
    assert sorted(place for group in groups for place in group.cases) == list(range(1, 10))
    assert [group.name for group in groups][-1].startswith("above")


def test_lesions_are_binned_by_diameter_only_where_they_differ():
    assert [name for name, _, _ in lesion_bins([3.0, 5.0, 20.0])] == ["up to 4 mm", "4 to 6 mm", "16 to 30 mm"]
    assert lesion_bins([5.0, 5.5]) == []


def test_presence_by_case_is_said_only_where_some_cases_lack_the_structure():
    present, absent = {"truth_ml": 3.0, "found_ml": 2.0}, {"truth_ml": 0.0, "found_ml": 0.5}
    everywhere = families([_row("a", overlap=present)], "Lung")
    assert not [family for family in everywhere if family.metrics[0].startswith("case_")]
    mixed = families([_row("a", overlap=present), _row("b", overlap=absent)], "Lung")
    (case,) = [family for family in mixed if family.metrics[0].startswith("case_")]
    assert _all(case)["case_recall"].value == 1.0
    assert _all(case)["case_specificity"].value == 0.0


def test_lesions_with_scores_have_a_froc_and_average_precision():
    box = np.array([[0.0, 0, 0, 5, 5, 5]])
    scores = LesionScores(hits=ScanHits(found=np.array([0.4]), false=np.array([0.9])),
                          reported=ScanHits(found=np.array([-np.inf]), false=np.array([0.9])),
                          boxes=ScanBoxes(found=np.vstack([box + 50, box]), scores=np.array([0.9, 0.4]), truth=box),
                          diameters_mm=np.array([5.0]))
    found = {}
    for family in families([_row("a", lesions=scores)], "Lung"):
        found |= {metric: one.value for metric, one in _all(family).items()}
    assert (found["lesion_recall"], found["false_per_scan"]) == (0.0, 1.0)
    assert (found["sensitivity_at_0.5"], found["sensitivity_at_1"]) == (0.0, 1.0)
    assert found["ap_50"] == pytest.approx(0.5)


def test_classes_are_scored_one_against_the_others_by_what_is_reported():
    rows = [_row("a", probabilities={"Lung": 0.9}, truth="Lung", given="Lung"),
            _row("b", probabilities={"Lung": 0.6}, truth="", given="Lung"),
            _row("c", probabilities={"Lung": 0.45}, truth="Lung", given=""),
            _row("d", probabilities={"Lung": 0.1}, truth="", given="")]
    found = {}
    for family in families(rows, "Lung"):
        found |= {metric: one.value for metric, one in _all(family).items()}
    assert (found["precision"], found["recall"], found["specificity"], found["accuracy"]) == (0.5, 0.5, 0.5, 0.5)
    assert found["roc_auc"] == pytest.approx(3 / 4)


def test_the_cases_of_a_patient_are_drawn_together():
    """Twenty cases of two patients: as cases they look many, as patients there are too few for an interval."""
    family = means([{"dice": 0.9 if k < 10 else 0.5} for k in range(20)], ["dice"])
    (alone,) = estimates(family, np.arange(20), 0)
    assert alone.high - alone.low < 0.25
    (two,) = estimates(family, np.arange(20), 0, np.arange(20) // 10)
    assert np.isnan(two.low)
    (four,) = estimates(family, np.arange(20), 0, np.arange(20) // 5)
    assert four.high - four.low > 0.3
    assert four.cases == 20
