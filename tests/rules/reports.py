"""Structured reports: who says what of which image, inside it, and in a form that viewers do not blank on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from pydicom import Dataset

from tests.rules.scene import Scene, concept, content, frames, groups_of, kind_of

MEASUREMENTS = {"SR3D", "SR"}
REPORTS = {*MEASUREMENTS, "TEXT", "KOS"}
DRAWN_TITLE = "126000"
TRACKING_ID, TRACKING_UID, FINDING, PRESENCE = "112039", "112040", "121071", "121052"
ALGORITHM = ("111001", "111003")
PROBABILITY = "122157"


def observer_is_a_device(one: Dataset, _scene: Scene) -> Iterator[str]:
    """PS3.16 TID 1002, 1004."""
    if kind_of(one) not in REPORTS:
        return
    found = {concept(item): item for item in one.get("ContentSequence", [])}
    if "121005" not in found or found["121005"].ConceptCodeSequence[0].CodeValue != "121007":
        yield "the observer is no device"
    if not str(found["121012"].UID if "121012" in found else "").startswith("2.25."):
        yield "the observer has no UID"


def language_is_said(one: Dataset, _scene: Scene) -> Iterator[str]:
    if kind_of(one) in {"SR3D", "SR", "TEXT"} and not any(
            concept(item) == "121049" for item in one.get("ContentSequence", [])):
        yield "does not say its language"


def template_is_named(one: Dataset, _scene: Scene) -> Iterator[str]:
    template = one.get("ContentTemplateSequence")
    if groups_of(one) and (not template or template[0].TemplateIdentifier != "1500"
                           or template[0].MappingResource != "DCMR"):
        yield "has measurement groups and does not name TID 1500"


def groups_say_what_and_by_whom(one: Dataset, _scene: Scene) -> Iterator[str]:
    for group in groups_of(one):
        names = [concept(item) for item in group.ContentSequence]
        lacking = [name for name in (TRACKING_ID, TRACKING_UID, *ALGORITHM) if name not in names]
        if lacking:
            yield f"a group lacks {', '.join(lacking)}"
        if FINDING not in names and PRESENCE not in names:
            yield "a group names no finding"


def groups_are_of_one_template(one: Dataset, _scene: Scene) -> Iterator[str]:
    """One family in each report: PixelMed takes others for errors, and viewers choose by the first."""
    used = {group.ContentTemplateSequence[0].TemplateIdentifier if "ContentTemplateSequence" in group else ""
            for group in groups_of(one)}
    if len(used) > 1 or "" in used:
        yield f"mixes templates {sorted(used)}"


def drawn_reports_have_coordinates_in_every_group(one: Dataset, _scene: Scene) -> Iterator[str]:
    """OHIF 3.13 blanks on a report titled 126000 with a group that has none; without groups it blanks too."""
    if "ConceptNameCodeSequence" not in one or one.ConceptNameCodeSequence[0].CodeValue != DRAWN_TITLE:
        return
    groups = groups_of(one)
    bare = [group for group in groups if not any(item.ValueType == "SCOORD" for item in content(group))]
    if bare or not groups:
        yield f"titled {DRAWN_TITLE}, but {len(bare)} of {len(groups)} groups have no coordinates"


def coordinates_lie_inside_the_image(one: Dataset, scene: Scene) -> Iterator[str]:
    """(column, row), 0.5 is the centre of the first pixel (PS3.3 C.18.6.1.1); outlines are closed."""
    for item in content(one):
        if item.get("ValueType") != "SCOORD":
            continue
        reference = item.ContentSequence[0].ReferencedSOPSequence[0]
        image = scene.known.get(str(reference.ReferencedSOPInstanceUID))
        columns, rows = item.GraphicData[0::2], item.GraphicData[1::2]
        if image is None or image.get("Rows") is None:
            yield "coordinates lie on no image"
        elif min(columns) < 0 or max(columns) > image.Columns or min(rows) < 0 or max(rows) > image.Rows:
            yield "coordinates lie outside the image"
        elif frames(image) > 1 and not reference.get("ReferencedFrameNumber"):
            yield "coordinates lie on no frame of a multi-frame image"
        points = list(zip(columns, rows, strict=True))
        if item.GraphicType in {"POLYLINE", "POLYGON"} and points[0] != points[-1]:
            yield "an outline is not closed"
        if any(first == second for first, second in pairwise(points)):
            yield "an outline repeats a point"


def numbers_are_possible(one: Dataset, _scene: Scene) -> Iterator[str]:
    for item in content(one):
        if item.get("ValueType") != "NUM":
            continue
        value = float(item.MeasuredValueSequence[0].NumericValue)
        if not math.isfinite(value) or (concept(item) == PROBABILITY and not 0 <= value <= 1):
            yield f"{item.ConceptNameCodeSequence[0].CodeMeaning} is {value}"
        if concept(item) in {"81827009", "118565006"} and value <= 0:
            yield f"{item.ConceptNameCodeSequence[0].CodeMeaning} is {value}"


def what_is_absent_is_no_finding(one: Dataset, _scene: Scene) -> Iterator[str]:
    """A viewer that shows values without their context must not show a finding where there is none."""
    for group in groups_of(one):
        named = {concept(item): item for item in group.ContentSequence}
        answer = named[PRESENCE].ConceptCodeSequence[0].CodeValue if PRESENCE in named else "52101004"
        if answer != "52101004" and FINDING in named:
            yield "a group whose finding is not present has it as its finding"
    for item in content(one):
        if concept(item) == PRESENCE and item.ConceptCodeSequence[0].CodeValue == "272519000" and not any(
                concept(part) == FINDING for part in item.get("ContentSequence", [])):
            yield "something is absent, and it does not say what"


def predecessors_have_a_class(one: Dataset, _scene: Scene) -> Iterator[str]:
    """PS3.3 Table 10-11; a set that replaces another says so in its SeriesDescription."""
    named = [item for study in one.get("PredecessorDocumentsSequence", [])
             for series in study.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]
    if any(not item.get("ReferencedSOPClassUID") for item in named):
        yield "a predecessor has no class"
    if named and "supersedes" not in one.SeriesDescription:
        yield "names a predecessor, and its SeriesDescription does not say that it supersedes one"
    if any(item.ReferencedSOPInstanceUID == one.SOPInstanceUID for item in named):
        yield "is its own predecessor"


RULES = (
    observer_is_a_device, language_is_said, template_is_named, groups_say_what_and_by_whom, groups_are_of_one_template,
    drawn_reports_have_coordinates_in_every_group, coordinates_lie_inside_the_image, numbers_are_possible,
    what_is_absent_is_no_finding, predecessors_have_a_class,
)
