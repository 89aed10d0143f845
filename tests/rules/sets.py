"""A set of results as a whole: what no single object shows."""

from __future__ import annotations

from collections.abc import Iterator

from tests.rules.scene import Scene, content, kind_of


def every_object_has_its_own_series(scene: Scene) -> Iterator[str]:
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        values = [str(one[keyword].value) for one in scene.results]
        if len(set(values)) != len(values):
            yield f"{keyword} stands twice"


def one_lesion_has_one_tracking_uid(scene: Scene) -> Iterator[str]:
    """A lesion that a segmentation tracks is reported under the same UID, if lesions are reported at all."""
    tracked = {str(item.TrackingUID) for one in scene.results for item in one.get("SegmentSequence", [])
               if item.get("TrackingUID")}
    reported = {str(item.UID) for one in scene.results if kind_of(one) in {"SR3D", "SR"} for item in content(one)
                if item.get("ValueType") == "UIDREF" and item.ConceptNameCodeSequence[0].CodeValue == "112040"}
    if reported and tracked - reported:
        yield f"{len(tracked - reported)} of {len(tracked)} tracked lesions are in no report"


def one_segment_looks_the_same_in_every_object(scene: Scene) -> Iterator[str]:
    looks: dict[tuple[str, str], set[tuple[int, ...]]] = {}
    for one in scene.results:
        for item in one.get("SegmentSequence", []):
            said = item.get("SegmentationAlgorithmIdentificationSequence")
            name = str(said[0].AlgorithmName) if said else ""
            looks.setdefault((name, str(item.SegmentLabel)), set()).add(
                tuple(item.get("RecommendedDisplayCIELabValue") or ()))
    for (_, label), colours in looks.items():
        if len(colours) > 1:
            yield f"{label} has {len(colours)} colours"


def series_numbers_tell_modalities_apart(scene: Scene) -> Iterator[str]:
    """Alternatives of one report may share a number, since a peer gets one of them; other objects may not."""
    used: dict[int, set[str]] = {}
    for one in scene.results:
        used.setdefault(int(one.SeriesNumber), set()).add(str(one.Modality))
    for number, modalities in used.items():
        if len(modalities) > 1:
            yield f"SeriesNumber {number} is that of {', '.join(sorted(modalities))}"


RULES = (
    every_object_has_its_own_series, one_lesion_has_one_tracking_uid, one_segment_looks_the_same_in_every_object,
    series_numbers_tell_modalities_apart,
)
