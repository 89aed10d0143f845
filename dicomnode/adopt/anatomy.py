"""From the names that bundles give their channels to codes: SNOMED CT as PS3.16 lists it, for a person to confirm.

Names are looked up in pydicom's copy of PS3.16 and kept only where a context group for segments or anatomy has the
code: CID 7151 (Segmentation Property Types), CID 4 (Anatomic Region), CID 7159 (altered structures).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Final

from pydicom.sr.codedict import codes

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import UNCONFIRMED_SCHEME

ANATOMICAL_STRUCTURE: Final = Code(value="91723000", scheme="SCT", meaning="Anatomical Structure")  # CID 7150
ALTERED_STRUCTURE: Final = Code(  # CID 7150
    value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure")
LEFT: Final = Code(value="7771000", scheme="SCT", meaning="Left")  # CID 244
RIGHT: Final = Code(value="24028007", scheme="SCT", meaning="Right")  # CID 244

SEGMENT_GROUPS: Final = (7151, 7153, 7192, 7710, 8134, 4)
"""CIDs of anatomy that segments may name."""
ALTERED_GROUP: Final = 7159
MEANING_MAX_CHARS: Final = 64  # VR LO
FOCAL: Final = frozenset({"nodule", "tumor", "tumour", "neoplasm", "lesion", "mass", "cyst", "metastasis", "cancer"})
"""Altered structures that come in pieces, each of which is a finding of its own."""

SIDES: Final[Mapping[str, Code]] = MappingProxyType({"left": LEFT, "l": LEFT, "lh": LEFT, "right": RIGHT, "r": RIGHT,
                                                     "rh": RIGHT})
WITH_SIDE: Final = frozenset({"left atrium", "right atrium", "left ventricle", "right ventricle"})
"""Structures whose side is part of what they are."""

SYNONYMS: Final[Mapping[str, str]] = MappingProxyType({
    "oesophagus": "esophagus", "bladder urinary": "bladder", "urinary bladder": "bladder", "clavicula": "clavicle",
    "small bowel": "small intestine", "postcava": "inferior vena cava", "vena cava inferior": "inferior vena cava",
    "lung upper lobe": "upper lobe of lung", "lung lower lobe": "lower lobe of lung",
    "lung middle lobe": "middle lobe of right lung", "heart atrium left": "left atrium",
    "heart atrium right": "right atrium", "heart ventricle left": "left ventricle",
    "heart ventricle right": "right ventricle", "iliac vena": "iliac vein", "lymph nodes": "lymph node",
    "ivc": "inferior vena cava", "lv": "left ventricle", "rv": "right ventricle", "oedema": "edema",
    "tumour": "neoplasm", "tumor": "neoplasm", "cancer": "neoplasm", "tumour core": "neoplasm",
    "tumor core": "neoplasm", "whole tumor": "neoplasm", "whole tumour": "neoplasm", "enhancing tumor": "neoplasm",
    "enhancing tumour": "neoplasm", "peritumoral edema": "edema", "lesions": "lesion", "nodules": "nodule",
    "ventricles": "brain ventricle", "adrenal": "adrenal gland", "lungs": "lung", "kidneys": "kidney",
    "pancreatic": "pancreas", "hepatic": "liver", "renal": "kidney", "pulmonary": "lung", "metastasis": "neoplasm",
    "hepatic vessel": "hepatic vein", "grey matter": "gray matter", "brainstem": "brain stem",
    "caudate": "caudate nucleus",
})
"""What bundles write → what PS3.16 calls it, letter case aside; sides and numbers are taken off before."""
VERTEBRA: Final = re.compile(r"vertebrae? ([ctls]\d{1,2})")
NUMBERED: Final = re.compile(r" (\d{1,2})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What a channel's name was taken to mean.

    Parameters
    ----------
    found:
        Whether the name is in the table; if not, ``type`` holds a code that must be replaced.
    """

    category: Code
    type: Code
    modifier: Code | None = None
    region: Code | None = None
    lesion: bool = False
    found: bool = True


def guess(name: str) -> Guess:
    """Return the codes that a structure's name suggests."""
    words = _words(name)
    whole = " ".join(words)
    side = next((SIDES[word] for word in words if word in SIDES), None)
    bare = " ".join(word for word in words if word not in SIDES)
    if len(words) > 1 and words[-1].removesuffix("s") in FOCAL:
        place, kind = guess(" ".join(words[:-1])), guess(words[-1].removesuffix("s"))
        if kind.found and place.found and not place.lesion:
            return replace(kind, region=place.type, modifier=place.modifier)
    for candidate, modifier in ((SYNONYMS.get(whole, whole), None), (SYNONYMS.get(bare, bare), side),
                                (_without_number(bare), side)):
        met = _lookup(candidate)
        if met is not None and (modifier is not None or side is None or candidate in WITH_SIDE):
            code, altered = met
            return Guess(category=ALTERED_STRUCTURE if altered else ANATOMICAL_STRUCTURE, type=code,
                         modifier=modifier, lesion=altered and bool(FOCAL & {candidate, *words}))
    return Guess(category=ANATOMICAL_STRUCTURE, type=placeholder(name), modifier=side, found=False)


def placeholder(name: str) -> Code:
    """Return a code that says that nobody has given one: it must be replaced before the model is confirmed."""
    return Code(value="CONFIRM", scheme=UNCONFIRMED_SCHEME, meaning=name[:MEANING_MAX_CHARS] or "unnamed")


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[\s_.,;:()/-]+", spaced.lower()) if word]


def _without_number(name: str) -> str:
    vertebra = VERTEBRA.fullmatch(name)
    if vertebra:
        return f"{vertebra[1]} vertebra"
    return NUMBERED.sub("", name)


def _lookup(name: str) -> tuple[Code, bool] | None:
    return _table().get(re.sub(r"[^a-z0-9]", "", name))


@cache
def _table() -> Mapping[str, tuple[Code, bool]]:
    """Return keyword in lower case → code, and whether it is an altered structure."""
    table: dict[str, tuple[Code, bool]] = {}
    for group in (ALTERED_GROUP, *SEGMENT_GROUPS):
        members = getattr(codes, f"cid{group}")
        for keyword in members.dir():
            met = None
            with suppress(RuntimeError):  # a keyword that two schemes share
                met = getattr(members, keyword)
            if met is not None and met.scheme_designator == "SCT" and len(met.meaning) <= MEANING_MAX_CHARS:
                code = Code(value=met.value, scheme="SCT", meaning=met.meaning)
                table.setdefault(keyword.lower(), (code, group == ALTERED_GROUP))
    return table
