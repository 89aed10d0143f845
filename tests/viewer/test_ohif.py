"""OHIF in Chromium over Orthanc's DICOMweb: what people see is what was found, in its place, in its colour."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from scipy import ndimage

from dicomnode.domain.findings import Detection, EncodedObject
from tests.builders import write_series
from tests.findings import parsed
from tests.live import Orthanc
from tests.ohif import ViewerServer, dicomweb_settings, ohif_dist
from tests.viewer_cases import CHINESE_NAME, IN_WORDS, SEGMENTED, Case, Planes, moved
from tests.viewing import (
    Rgb,
    Viewer,
    along,
    annotation,
    corners,
    differences,
    near_colour,
    positions_lps_mm,
    share_near,
    tinted,
    viewer_at,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CASES = {**SEGMENTED, **IN_WORDS, "moved": moved}
SEGMENTATIONS = [*((name, "SEG") for name in SEGMENTED),
                 *((name, "LABELMAP") for name in ("axial", "oblique", "multi_frame", "many_labels"))]
FINDINGS = [*((name, "SR3D") for name in SEGMENTED if name not in {"overlapping", "many_labels"}),
            *((name, "SR") for name in ("axial", "multi_frame", "chinese_name"))]
DRAWN_AT_LEAST = 0.7
"""Of a line on the page; OHIF draws boxes dashed."""
SOME_PIXELS = 60
UNSHOWN = {"GSPS", "KOS"}
"""What OHIF 3.13 lists with a warning sign and shows nothing of."""
WORDS = {"en": ("Diameter", "Volume", "Probability"), "zh-CN": ("直径", "体积", "概率")}
MOST_OF_AN_EDGE = 12
"""Voxels; of a structure with fewer in sight on a slice nothing is said."""


@cache
def the(name: str) -> Case:
    return CASES[name]()


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    folder = tmp_path_factory.mktemp("viewer")
    dist = ohif_dist()
    with Orthanc(folder / "orthanc", node_port=1, **dicomweb_settings()) as archive:
        for name in CASES:
            archive.upload(written(the(name), folder / name))
        with ViewerServer(dist, archive.url) as server, viewer_at(server.url) as found:
            yield found


def written(case: Case, folder: Path) -> list[Path]:
    paths = write_series(folder, case.images)
    for number, one in enumerate(case.objects):
        path = folder / f"{number}_{one.kind}.dcm"
        path.write_bytes(one.payload)
        paths.append(path)
    return paths


@pytest.fixture
def case(viewer: Viewer, request: pytest.FixtureRequest) -> Case:
    """A case whose study the viewer has open; tests of one case follow each other and share the page."""
    found = the(request.param)
    if viewer.shows != request.param or viewer.wrong():
        viewer.open(request.param, found.study_uid, [one.series_uid for one in found.objects])
    return found


@pytest.mark.parametrize(("case", "kind"), SEGMENTATIONS, indirect=["case"])
def test_the_viewers_own_label_map_is_the_mask_voxel_by_voxel(viewer: Viewer, case: Case, kind: str) -> None:
    shown = masks_of(viewer, case, kind)
    assert shown.keys() == case.named().keys()
    for label, planes in shown.items():
        assert differences(case.planes(label), planes) == [], label
    assert viewer.wrong() == []


def masks_of(viewer: Viewer, case: Case, kind: str) -> dict[str, Planes]:
    shown: dict[str, Planes] = {}
    for one in case.of(kind):
        viewer.show_loaded(one.series_uid)
        shown |= viewer.masks(one.series_uid)
    return shown


@pytest.mark.parametrize(("case", "kind"), SEGMENTATIONS, indirect=["case"])
def test_segments_have_the_colours_of_the_model_file_and_are_drawn_on_their_voxels(
        viewer: Viewer, case: Case, kind: str) -> None:
    for number, one in enumerate(case.of(kind), start=1):
        viewer.show_loaded(one.series_uid)
        segments = {segment["label"]: segment["colour"] for segment in viewer.segments(one.series_uid)}
        for label, colour in segments.items():
            assert np.abs(np.array(colour[:3]) - case.named()[label].colour_rgb).max() <= 1, label
        assert drawn_right(viewer, case, set(segments), f"{kind}_{number}")
    assert viewer.wrong() == []


def drawn_right(viewer: Viewer, case: Case, labels: set[str], name: str,
                has: Callable[[Sequence[int]], Callable[[Rgb], NDArray[np.bool_]]] = near_colour) -> bool:
    """Look at the slice with most of an object, until the edge of each structure has its colour on the page."""
    planes = {label: case.planes(label) for label in labels}
    place = max({place for own in planes.values() for place in own},
                key=lambda one: sum(own[one].sum() for own in planes.values() if one in own))
    here = {label: own[place] for label, own in planes.items() if place in own}
    edges = {label: drawn & (np.sum(list(here.values()), axis=0) == 1) & ~ndimage.binary_erosion(drawn)
             for label, drawn in here.items()}

    def are_drawn(page: Rgb) -> bool:
        shares = []
        one, next_to_it = viewer.on_page(positions_lps_mm(case.found.stack, place, np.array([(0, 0), (0, 1)])))
        half_a_voxel = int(np.ceil(np.linalg.norm(next_to_it - one) / 2))
        for label, edge in edges.items():
            points = viewer.uncovered(viewer.on_page(positions_lps_mm(case.found.stack, place, np.argwhere(edge))))
            if len(points) >= MOST_OF_AN_EDGE:
                shares.append(share_near(page, points, has(case.named()[label].colour_rgb), reach=half_a_voxel + 1))
        return bool(shares) and min(shares) > DRAWN_AT_LEAST

    return viewer.seen(name, are_drawn, place)


@pytest.mark.parametrize(("case", "kind"), FINDINGS, indirect=["case"])
def test_findings_load_with_their_numbers_and_are_drawn_round_the_lesion(
        viewer: Viewer, case: Case, kind: str) -> None:
    (report,) = case.of(kind, "findings")
    diameter, volume, probability = WORDS[case.language]
    viewer.show_loaded(report.series_uid)
    found = {one["identifier"]: one for one in viewer.ask("measurements", report.series_uid)}
    assert found.keys() == {lesion.tracking_id for lesion in case.found.detections}
    for lesion in case.found.detections:
        one, place = found[lesion.tracking_id], case.place_of(lesion)
        assert (one["loaded"], one["graphics"]) == (True, ["SCOORD POLYLINE"])
        assert set(one["labels"]) >= {
            f"{diameter} {lesion.diameter_mm:.2f} mm", f"{volume} {lesion.volume_ml:.2f} cm3",
            f"{probability} {lesion.probability:.2f} {{1}}"}
        assert one["image"].endswith("/{}/frames/{}".format(*place))
        assert viewer.seen(
            f"{kind}_{lesion.number}",
            lambda page, lesion=lesion: share_boxed(viewer, case, lesion, page) > DRAWN_AT_LEAST, place,
        ), f"{lesion.tracking_id}: no box where the lesion is"
    assert viewer.wrong() == []


def share_boxed(viewer: Viewer, case: Case, lesion: Detection, page: Rgb) -> float:
    """Return the share of a lesion's box that is drawn on the page."""
    line = along(viewer.on_page(positions_lps_mm(case.found.stack, case.place_of(lesion), corners(lesion.box_yx))))
    return share_near(page, line, annotation)


@pytest.mark.parametrize("case", ["moved"], indirect=True)
def test_a_mask_one_column_beside_and_a_box_beside_the_lesion_are_seen_to_be_wrong(viewer: Viewer, case: Case) -> None:
    for label, planes in masks_of(viewer, case, "SEG").items():
        assert len(differences(case.planes(label), planes)) == len(case.planes(label) | planes), label
    (report,) = case.of("SR3D", "findings")
    viewer.show_loaded(report.series_uid)
    lesion = case.found.detections[0]
    shown = replace(lesion, box_yx=tuple(np.add(lesion.box_yx, (0, 6, 0, 6))))
    assert viewer.seen("SR3D", lambda page: share_boxed(viewer, case, shown, page) > DRAWN_AT_LEAST,
                       case.place_of(lesion))
    assert share_boxed(viewer, case, lesion, viewer.screenshot()) < 1 - DRAWN_AT_LEAST


@pytest.mark.parametrize("case", ["axial", "tilted", "sagittal", "multi_frame"], indirect=True)
def test_an_rt_structure_set_is_drawn_as_contours_in_the_same_colours_at_the_same_place(
        viewer: Viewer, case: Case) -> None:
    (structures,) = case.of("RTSTRUCT")
    viewer.show_loaded(structures.series_uid)
    assert drawn_right(viewer, case, set(case.named()), "RTSTRUCT", tinted)
    assert viewer.wrong() == []


@pytest.mark.parametrize("case", ["axial"], indirect=True)
def test_the_summary_is_shown_as_a_picture_with_its_outlines(viewer: Viewer, case: Case) -> None:
    (summary,) = case.of("SC")
    viewer.show(summary.series_uid)
    viewer.wait("uid => window.probe.image().includes(uid)", summary.sop_instance_uid)
    colours = [near_colour(label.colour_rgb) for label in case.named().values()]

    def shows(page: Rgb) -> bool:
        viewer.ask("resetWindow")  # the viewer may have kept that of the CT which was there before
        return all(colour(page).sum() > SOME_PIXELS for colour in colours)

    assert viewer.seen("SC", shows)
    assert viewer.wrong() == []


@pytest.mark.parametrize("case", ["axial"], indirect=True)
def test_objects_that_the_viewer_cannot_show_are_listed_as_such_and_break_nothing(viewer: Viewer, case: Case) -> None:
    for one in case.objects:
        about = viewer.about(one.series_uid)
        assert about["unsupported"] == (one.kind in UNSHOWN), (one.kind, about)
        if one.kind in UNSHOWN:
            viewer.show(one.series_uid)
            viewer.screenshot(one.kind)
    viewer.show_loaded(case.of("SEG")[0].series_uid)
    assert viewer.wrong() == []


@pytest.mark.parametrize("case", ["axial"], indirect=True)
def test_a_parametric_map_opens(viewer: Viewer, case: Case) -> None:
    (chances,) = case.of("PM")
    viewer.show_loaded(chances.series_uid)
    viewer.screenshot("PM")
    assert viewer.wrong() == []


@pytest.mark.parametrize("case", ["chinese_name"], indirect=True)
def test_a_chinese_name_is_shown_as_it_was_sent(viewer: Viewer, case: Case) -> None:
    alphabetic, ideographic = CHINESE_NAME.split("=")
    for one in case.objects:
        (name,) = viewer.about(one.series_uid)["patient"]
        assert (name["Alphabetic"], name["Ideographic"]) == (alphabetic, ideographic), one.kind


@pytest.mark.parametrize("case", [*IN_WORDS, "axial", "chinese_name"], indirect=True)
def test_reports_without_coordinates_are_shown_in_words_and_numbers(viewer: Viewer, case: Case) -> None:
    reports = [one for one in case.objects if one.kind in {"TEXT", "SR", "SR3D"} and one.group != "findings"]
    assert reports
    for number, one in enumerate(reports, start=1):
        viewer.show(one.series_uid)
        viewer.wait("said => said.every(one => document.body.innerText.replace(/\\s+/g, ' ').includes(one))", said(one))
        viewer.screenshot(f"words_{number}_{one.kind}")
    assert viewer.wrong() == []


def said(report: EncodedObject) -> list[str]:
    """Return every text and number of a report, as a reader must see it."""
    found = []

    def walk(item: Dataset) -> None:
        if item.ValueType == "TEXT":
            found.append(" ".join(item.TextValue.split()))
        elif item.ValueType == "NUM":
            found.append(f"{float(item.MeasuredValueSequence[0].NumericValue):g}")
        for child in item.get("ContentSequence", ()):
            walk(child)

    walk(parsed(report))
    return found
