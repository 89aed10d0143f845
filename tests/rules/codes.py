"""Codes: each from the context group that PS3.3 or PS3.16 names for its place, called as the standard calls it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

from pydicom import Dataset
from pydicom.sr import _concepts_dict
from pydicom.sr.codedict import codes

from tests.rules.scene import Scene, concept, content, elements, kind_of

Coded = tuple[str, str]


def _group(*numbers: int) -> frozenset[Coded]:
    """Return (scheme, value) of every code of some context groups."""
    return frozenset((code.scheme_designator, code.value) for number in numbers
                     for code in getattr(codes, f"cid{number}").concepts.values())


def _called() -> dict[Coded, set[str]]:
    """Return what the standard calls each code that stands in a context group, and each of its own."""
    found: dict[Coded, set[str]] = {}
    for scheme, concepts in _concepts_dict.concepts.items():
        for by_value in concepts.values():
            for value, (meaning, groups) in by_value.items():
                if groups or scheme == "DCM":
                    found.setdefault((scheme, value), set()).add(meaning.casefold())
    return found


CALLED = _called()
OTHERWISE_CALLED: Mapping[Coded, str] = {
    ("UCUM", "cm3"): "cm3",  # PS3.16 TID 1411 takes the symbol for the meaning, as viewers show it
    ("SCT", "118565006"): "volume", ("LN", "18748-4"): "diagnostic imaging report",
}
SIDES, ANATOMY = _group(244), _group(4)
LANGUAGES = frozenset({("RFC5646", "en-US"), ("RFC5646", "zh-CN")})
UNITY = frozenset({("UCUM", "{1}"), ("UCUM", "1")})
UNITS = _group(7181, 7460, 7461, 7462) | UNITY
NOT_IN_A_GROUP = frozenset({("DCM", "122157")})
"""Probability (DCM 122157): in the dictionary of codes and in no context group of measurements."""
UNSPECIFIED = ("DCM", "112187")
"""Unspecified method of calculation: CID 7203 is a baseline, and has nothing for what a network computes."""
QUANTITIES = _group(218, 7469, 7470, 7472) | NOT_IN_A_GROUP

IN_SEQUENCES: Mapping[str, frozenset[Coded]] = {
    "SegmentedPropertyCategoryCodeSequence": _group(7150), "SegmentedPropertyTypeCodeSequence": _group(7151),
    "SegmentedPropertyTypeModifierCodeSequence": SIDES | _group(2), "AnatomicRegionSequence": ANATOMY,
    "AnatomicRegionModifierSequence": _group(2), "AlgorithmFamilyCodeSequence": _group(7162),
    "DerivationCodeSequence": _group(7203) | {UNSPECIFIED}, "MeasurementUnitsCodeSequence": UNITS,
}
"""Sequence → codes that may stand in it (PS3.3 C.8.20.2, C.12.1, 10.5, 10.16)."""

IN_REPORTS: Mapping[str, frozenset[Coded]] = {
    "121058": _group(100), "121049": LANGUAGES, "121005": _group(270), "272741003": SIDES, "121401": _group(7464),
    "121052": _group(240), "111000": _group(7162), "276214006": _group(7150),
}
"""Name of a content item → codes that may be its value (PS3.16 TID 1204, 1002, 1500, 1419, 4019)."""
TITLES: Mapping[str, frozenset[Coded]] = {
    "SR3D": _group(7021), "SR": _group(7021) | _group(7000), "TEXT": _group(7000), "KOS": _group(7010),
}
SCHEMES = frozenset(_concepts_dict.concepts) | {"RFC5646"}


def codes_are_whole(one: Dataset, scene: Scene) -> Iterator[str]:
    """PS3.3 Section 8.8: value, scheme and meaning; of a scheme that others know, or that says whose it is."""
    ours = {str(item.CodingSchemeDesignator) for item in one.get("CodingSchemeIdentificationSequence", [])
            if item.get("CodingSchemeResponsibleOrganization") or item.get("CodingSchemeName")}
    for item in _coded(one, scene):
        if not (_value(item) and item.get("CodingSchemeDesignator") and item.get("CodeMeaning")):
            yield f"a code has no value, scheme or meaning: {_value(item)!r}"
        elif item.CodingSchemeDesignator not in SCHEMES | ours:
            yield f"coding scheme {item.CodingSchemeDesignator} of {_value(item)} is none that others know"


def codes_are_called_as_the_standard_calls_them(one: Dataset, scene: Scene) -> Iterator[str]:
    """A reader's language may differ (PS3.16 TID 1204): then it is no Latin script."""
    chinese = any(concept(item) == "121049" and item.ConceptCodeSequence[0].CodeValue == "zh-CN"
                  for item in content(one))
    for item in _coded(one, scene):
        key = str(item.get("CodingSchemeDesignator")), _value(item)
        meaning = str(item.get("CodeMeaning", ""))
        allowed = CALLED.get(key, set()) | ({OTHERWISE_CALLED[key]} if key in OTHERWISE_CALLED else set())
        if chinese and _is_chinese(meaning):
            continue
        if CALLED.get(key) and meaning.casefold() not in allowed:
            yield f"calls {key} {meaning!r}; the standard calls it {sorted(allowed)}"


def codes_are_of_the_group_of_their_place(one: Dataset, scene: Scene) -> Iterator[str]:
    source = scene.source_of(one)
    for _, element in elements(one, copied_from=source):
        for item in element.value if element.keyword in IN_SEQUENCES else ():
            key = str(item.get("CodingSchemeDesignator")), _value(item)
            if key not in IN_SEQUENCES[element.keyword]:
                yield f"{element.keyword} holds {key}, which its context group has not"


def answers_are_of_their_group(one: Dataset, _scene: Scene) -> Iterator[str]:
    for item in content(one):
        if concept(item) in IN_REPORTS and "ConceptCodeSequence" in item:
            answer = item.ConceptCodeSequence[0]
            key = str(answer.CodingSchemeDesignator), _value(answer)
            if key not in IN_REPORTS[concept(item)]:
                yield f"{item.ConceptNameCodeSequence[0].CodeMeaning} is {key}, which its context group has not"


def quantities_have_their_codes(one: Dataset, _scene: Scene) -> Iterator[str]:
    for item in content(one):
        if item.get("ValueType") != "NUM":
            continue
        name, unit = item.ConceptNameCodeSequence[0], item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
        if (str(name.CodingSchemeDesignator), _value(name)) not in QUANTITIES:
            yield f"quantity {_value(name)} is in no context group of measurements"
        if (str(unit.CodingSchemeDesignator), _value(unit)) not in UNITS:
            yield f"unit {_value(unit)} is in no context group of units"


def titles_are_of_their_group(one: Dataset, _scene: Scene) -> Iterator[str]:
    allowed = TITLES.get(kind_of(one))
    if allowed is None:
        return
    title = one.ConceptNameCodeSequence[0]
    if (str(title.CodingSchemeDesignator), _value(title)) not in allowed:
        yield f"title {_value(title)} is not of the context group for {kind_of(one)}"


def findings_and_sites_are_in_the_dictionary(one: Dataset, _scene: Scene) -> Iterator[str]:
    """TID 1410 takes any code there; the node's own are ones that a context group of the standard has."""
    for item in content(one):
        if concept(item) in {"121071", "363698007"} and "ConceptCodeSequence" in item:
            answer = item.ConceptCodeSequence[0]
            if (str(answer.CodingSchemeDesignator), _value(answer)) not in CALLED:
                yield f"finding or site {_value(answer)} is in no context group of the standard"


def _coded(one: Dataset, scene: Scene) -> Iterator[Dataset]:
    for item, element in elements(one, copied_from=scene.source_of(one)):
        if element.keyword in {"CodeValue", "LongCodeValue"}:
            yield item


def _value(item: Dataset) -> str:
    return str(item.get("CodeValue") or item.get("LongCodeValue") or "")


def _is_chinese(text: str) -> bool:
    return any("CJK" in unicodedata.name(letter, "") for letter in text)


RULES = (
    codes_are_whole, codes_are_called_as_the_standard_calls_them, codes_are_of_the_group_of_their_place,
    answers_are_of_their_group, quantities_have_their_codes, titles_are_of_their_group,
    findings_and_sites_are_in_the_dictionary,
)
