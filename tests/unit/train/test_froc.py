import csv
from collections import defaultdict

import numpy as np
import pytest

from dicomnode.train.score.froc import FALSE_MARKS_PER_SCAN, ScanHits, SortedHits, froc, scan_hits
from tests.shared import shared_data

PUBLISHED = (0.692, 0.769, 0.824, 0.865, 0.893, 0.917, 0.933)


def test_the_published_result_of_luna16_comes_out_to_the_third_decimal():
    folder = shared_data("gt_luna16_froc") / "evaluationScript" / "annotations"
    included, excluded = _findings(folder / "newannotations.csv"), _findings(folder / "newannotations_excluded.csv")
    marks = defaultdict(list)
    with (folder / "dpn26bs32.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            scan = row["seriesuid"].zfill(5)
            marks[scan].append([float(row[key]) for key in ("coordX", "coordY", "coordZ", "probability")])
    scans = []
    for scan in (folder / "newseriesuids.csv").read_text(encoding="utf-8").split():
        found, aside = (np.array(rows[scan], float).reshape(-1, 4) for rows in (included, excluded))
        mark = np.array(marks[scan], float).reshape(-1, 4)
        scans.append(scan_hits(mark[:, :3], mark[:, 3], found[:, :3], found[:, 3],
                               irrelevant_mm=aside[:, :3], irrelevant_sizes_mm=aside[:, 3]))
    curve = froc(scans)
    assert (curve.findings, curve.scans) == (1186, 888)
    assert sum(int(np.isneginf(scan.found).sum()) for scan in scans) == 50
    assert tuple(round(value, 3) for value in curve.sensitivities) == PUBLISHED
    assert round(curve.cpm, 3) == 0.842


def _findings(path):
    rows = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows[row["seriesuid"]].append([float(row[key]) for key in ("coordX", "coordY", "coordZ", "diameter_mm")])
    return rows


def test_a_mark_counts_only_strictly_within_the_finding():
    hits = scan_hits([[5.0, 0, 0], [0, 4.99, 0]], [0.9, 0.4], [[0.0, 0, 0]], [10.0])
    assert hits.found.tolist() == [0.4]
    assert hits.false.tolist() == [0.9]


def test_of_several_marks_in_one_finding_the_surest_counts_and_none_is_false():
    hits = scan_hits([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], [0.2, 0.8, 0.5], [[0.0, 0, 0]], [10.0])
    assert hits.found.tolist() == [0.8]
    assert hits.false.size == 0


def test_a_mark_in_an_irrelevant_finding_counts_neither_way_and_its_unknown_size_is_ten_millimetres():
    hits = scan_hits([[4.9, 0, 0], [5.1, 0, 0]], [0.7, 0.6], [], [], irrelevant_mm=[[0.0, 0, 0]],
                     irrelevant_sizes_mm=[-1.0])
    assert hits.found.size == 0
    assert hits.false.tolist() == [0.6]


def test_a_mark_in_a_finding_and_in_an_irrelevant_one_sees_the_finding():
    hits = scan_hits([[0.0, 0, 0]], [0.7], [[0.0, 0, 0]], [4.0], irrelevant_mm=[[0.0, 0, 0]], irrelevant_sizes_mm=[4.0])
    assert hits.found.tolist() == [0.7]


def test_only_the_hundred_surest_marks_of_a_scan_are_read():
    scores = np.linspace(1.0, 0.0, 150)
    places = np.tile([100.0, 0, 0], (150, 1))
    places[120] = 0.0
    hits = scan_hits(places, scores, [[0.0, 0, 0]], [6.0])
    assert np.isneginf(hits.found).all()
    assert hits.false.size == 100


def test_a_flat_box_is_hit_only_within_its_own_thickness():
    hits = scan_hits([[0.0, 0, 1.5], [4.0, 0, 0]], [0.9, 0.3], [[0.0, 0, 0]], [[10.0, 10.0, 2.0]])
    assert hits.found.tolist() == [0.3]
    assert hits.false.tolist() == [0.9]


def test_the_curve_of_a_worked_case_is_linear_between_its_points():
    """Two scans, four findings: by falling score a hit, an error, a hit, an error, an error; two are missed."""
    scans = [_scan([0.9, -np.inf], [0.8, 0.6]), _scan([0.7, -np.inf], [0.5])]
    curve = froc(scans)
    assert curve.false_per_scan.tolist() == [0, 0, 0.5, 0.5, 1.0, 1.5]
    assert curve.sensitivity.tolist() == [0, 0.25, 0.25, 0.5, 0.5, 0.5]
    assert curve.score.tolist() == [np.inf, 0.9, 0.8, 0.7, 0.6, 0.5]
    assert curve.sensitivities == (0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5)
    assert curve.cpm == pytest.approx(3.0 / 7.0)
    assert [curve.threshold(count) for count in (0.125, 0.5, 1.0, 8.0)] == [0.9, 0.7, 0.6, 0.5]


def test_equal_scores_share_one_threshold():
    curve = froc([_scan([0.5, 0.5], [0.5])])
    assert curve.false_per_scan.tolist() == [0, 1.0]
    assert curve.at(0.5) == pytest.approx(0.5)


def test_a_scan_drawn_twice_weighs_as_two():
    first, second = _scan([0.9], [0.8]), _scan([-np.inf], [0.3, 0.2])
    drawn, weighed = froc([first, first, second]), SortedHits([first, second]).curve([2, 1])
    assert weighed.sensitivities == pytest.approx(drawn.sensitivities)
    assert weighed.scans == drawn.scans == 3


def test_scans_without_errors_have_their_whole_sensitivity_everywhere():
    assert froc([_scan([0.9, -np.inf], [])]).sensitivities == (0.5,) * len(FALSE_MARKS_PER_SCAN)


def test_where_there_is_nothing_to_find_the_sensitivity_is_no_number():
    assert np.isnan(froc([_scan([], [0.5])]).cpm)


def _scan(found, false):
    return ScanHits(found=np.array(found, float), false=np.array(false, float))
