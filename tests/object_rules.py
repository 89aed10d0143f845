"""The project's own checker of results: what validators do not look at. The rules lie in ``tests/rules``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from tests.rules import codes, contours, identity, pictures, references, reports, segmentations, sets, texts
from tests.rules.scene import Scene, kind_of

OBJECT_RULES = (
    *identity.RULES, *texts.RULES, *references.RULES, *codes.RULES, *segmentations.RULES, *reports.RULES,
    *pictures.RULES, *contours.RULES,
)
SET_RULES = sets.RULES


@dataclass(frozen=True, slots=True)
class Broken:
    """One rule that does not hold: its name, the object, and what is wrong."""

    rule: str
    where: str
    text: str


def judged(results: Sequence[Dataset], sources: Sequence[Dataset]) -> list[Broken]:
    """Return every rule that a set of results breaks; sources must carry what references need: header and geometry."""
    scene = Scene(results=results, sources=sources)
    found = [Broken(rule.__name__, kind_of(one), text) for one in results for rule in OBJECT_RULES
             for text in rule(one, scene)]
    found += [Broken(rule.__name__, "set", text) for rule in SET_RULES for text in rule(scene)]
    return list(dict.fromkeys(found))


def broken_rules(results: Sequence[Dataset], sources: Sequence[Dataset]) -> list[str]:
    """Return every rule that a set of results breaks, as sentences."""
    return [f"{one.where}: {one.text} ({one.rule})" for one in judged(results, sources)]
