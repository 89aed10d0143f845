"""Which marked structure becomes which label: by name, code or number, as the person or the model file says."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final, Self

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import Label, ModelFile
from dicomnode.errors import UnusableDataset
from dicomnode.read.annotations import Box, Structure
from dicomnode.train.dataset.cases import DatasetLabel

COLOURS: Final = ((230, 80, 80), (126, 200, 227), (255, 170, 0), (120, 200, 110), (190, 130, 220), (240, 220, 90))
ABNORMAL: Final = frozenset({"49755003", "M-01000"})
"""Segmented Property Category: morphologically abnormal structure, in SNOMED CT and RT."""
GOLDEN_ANGLE: Final = 0.618034
MOST_COLOURS: Final = len(COLOURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRule:
    """One label of the data set and what in the annotations means it.

    Parameters
    ----------
    patterns:
        Shell patterns for names, code meanings, code values, and names of files that hold only values, letter case
        aside; ``#3`` for the value 3 of a mask without names.
    modifier:
        Where given, a structure that is found by its code must have the same.
    """

    label: DatasetLabel
    patterns: tuple[str, ...] = ()
    modifier: Code | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NAME=VALUE`` or ``NAME=VALUE:PATTERN|PATTERN``; a ``!`` behind the value makes it a lesion.

        Raises
        ------
        UnusableDataset
            If it is neither.
        """
        name, equals, rest = text.partition("=")
        value, _, patterns = rest.partition(":")
        lesion = value.strip().endswith("!")
        number = value.strip().removesuffix("!")
        if not (equals and name.strip() and number.isdecimal() and int(number)):
            raise UnusableDataset(f"--label {text!r}: allowed is NAME=VALUE, or NAME=VALUE:PATTERN|PATTERN, with "
                                  "values of 1 and more; VALUE! for lesions")
        listed = tuple(part.strip() for part in patterns.split("|") if part.strip())
        label = DatasetLabel(value=int(number), name=name.strip(), lesion=lesion, colour_rgb=colour(int(number)))
        return cls(label=label, patterns=listed or (label.name, f"#{number}"))

    @classmethod
    def of(cls, label: Label) -> Self:
        """Take a label of a model file: found by its name or its code."""
        return cls(patterns=(label.name, label.type.value), modifier=label.modifier, label=DatasetLabel(
            value=label.value, name=label.name, category=label.category, type=label.type,
            colour_rgb=label.colour_rgb, lesion=label.lesion))

    def names(self, found: Structure | Box) -> bool:
        """Whether a structure or finding is called as this label, or has its code, or its file is called so."""
        files = found.file_names if isinstance(found, Structure) else ()
        names = [found.name, *files, *((found.type.meaning, found.type.value) if found.type else ())]
        hits = [name for name in names if name and any(
            fnmatchcase(name.casefold(), pattern.casefold()) for pattern in self.patterns)]
        if not hits:
            return False
        modifier = found.modifier if isinstance(found, Structure) else None
        by_name = found.name in hits
        return by_name or self.modifier is None or (modifier is not None and modifier.value == self.modifier.value)

    def values(self, found: Structure | Box) -> bool:
        """Whether a structure without a name has the value of this label."""
        return isinstance(found, Structure) and not found.name and f"#{found.number}" in self.patterns


@dataclass(slots=True, kw_only=True)
class Labels:
    """The labels of a data set: those that were asked for, or those that are found, numbered as they appear."""

    rules: Sequence[LabelRule] = ()
    lesions_only: bool = False
    found: list[DatasetLabel] = field(default_factory=list)
    passed_over: set[str] = field(default_factory=set)
    _codes: dict[int, set[tuple[Code, Code]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse two rules for one value."""
        values = [rule.label.value for rule in self.rules]
        if len(set(values)) != len(values):
            raise UnusableDataset(f"--label: a value stands twice in {values}")
        self.found = sorted((rule.label for rule in self.rules), key=lambda label: label.value)

    def of(self, one: Structure | Box) -> DatasetLabel | None:
        """Return the label of a structure or finding; None if nobody asked for it."""
        if self.rules:
            rule = next((rule for rule in self.rules if rule.names(one)), None) \
                or next((rule for rule in self.rules if rule.values(one)), None)
            if rule is None:
                self.passed_over.add(title(one))
                return None
            if isinstance(one, Structure) and one.category and one.type:
                self._codes.setdefault(rule.label.value, set()).add((one.category, one.type))
            return rule.label
        if self.lesions_only and isinstance(one, Structure) and not is_lesion(one):
            self.passed_over.add(title(one))
            return None
        known = next((label for label in self.found if label.name == title(one)), None)
        if known is None:
            known = self._new(one)
            self.found.append(known)
        return known

    def by_value(self, one: Structure) -> bool:
        """Whether its value alone decides what a structure is."""
        return not any(rule.names(one) for rule in self.rules) and (
            not self.rules or any(rule.values(one) for rule in self.rules))

    def coded(self) -> list[DatasetLabel]:
        """Return the labels that were asked for without codes, with those of their structures, if all say the same."""
        found = []
        for label in self.found:
            codes = self._codes.get(label.value, set())
            if label.type is None and len(codes) == 1:
                category, kind = next(iter(codes))
                found.append(replace(label, category=category, type=kind))
        return found

    def index(self, label: DatasetLabel) -> int:
        """Return the place of a label among the data set's."""
        return self.found.index(label)

    def _new(self, one: Structure | Box) -> DatasetLabel:
        number = len(self.found) + 1
        if isinstance(one, Box):
            return DatasetLabel(value=number, name=title(one), type=one.type, colour_rgb=colour(number), lesion=True)
        return DatasetLabel(
            value=number, name=title(one), category=one.category, type=one.type, lesion=is_lesion(one),
            colour_rgb=one.colour_rgb or colour(number))


def rules_of(model: ModelFile | None, task: str) -> tuple[LabelRule, ...]:
    """Return a model file's labels as rules; of a model that also marks organs, boxes are those of its lesions."""
    labels = model.labels if model else ()
    lesions = tuple(label for label in labels if label.lesion)
    return tuple(LabelRule.of(label) for label in (lesions if task == "detection" and lesions else labels))


def title(one: Structure | Box) -> str:
    """Return what a structure is called in the data set: a lesion by its kind, anything else by its name."""
    if isinstance(one, Box):
        return one.type.meaning if one.type else one.name or "finding"
    if one.type is not None and (one.tracking_uid or not one.name):
        return one.type.meaning
    return one.name or f"value {one.number}"


def is_lesion(one: Structure) -> bool:
    """Whether a structure is a finding of its own: of an abnormal category, or of none and tracked or nameless."""
    if one.category is not None:
        return one.category.value in ABNORMAL
    return bool(one.tracking_uid) or not (one.name or one.type)


def colour(value: int) -> tuple[int, int, int]:
    """Return a colour for a label that brings none: apart from its neighbours'."""
    if value <= MOST_COLOURS:
        return COLOURS[value - 1]
    red, green, blue = colorsys.hsv_to_rgb(value * GOLDEN_ANGLE % 1, 0.6, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
