"""Many segments in several objects: by the group that the model file gives, or by what their names say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dicomnode.encode.segments import Segment

MOST_SEGMENTS: Final = 20
"""More segments than these and viewers that load each as a volume of its own grow slow: measured with OHIF."""
LESIONS: Final = "lesions"
OTHERS: Final = "others"
WORDS: Final = (
    ("spine", "vertebra|vertebrae|sacrum|coccyx|disc|spinal|spine"),
    ("ribs", "rib|ribs|costal|sternum"),
    ("muscles", "muscle|gluteus|iliopsoas|autochthon|psoas|erector"),
    ("vessels", "artery|vein|aorta|vena|trunk|vessel|arch|carotid|brachiocephalic"),
    ("heart", "heart|atrium|ventricle|atrial|ventricular|myocardium|cardiac|pericardium"),
    ("chest", "lung|lungs|lobe|bronchus|trachea|airway|pleura|oesophagus|esophagus|breast|thyroid"),
    ("head", "brain|cerebrum|cerebellum|brainstem|skull|face|eye|orbit|mandible|thalamus|hippocampus"),
    ("bones", "bone|femur|hip|humerus|scapula|clavicle|clavicula|tibia|fibula|patella|radius|ulna"),
    ("abdomen", "liver|spleen|kidney|pancreas|stomach|gallbladder|adrenal|duodenum|bowel|colon|intestine"),
    ("pelvis", "bladder|prostate|uterus|ovary|rectum|urinary"),
)
"""Group → words of a name that say so; the first group whose word stands in the name counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Segments that share an object; no name where all are in one."""

    name: str
    segments: tuple[Segment, ...]


def parts_of(segments: Sequence[Segment], most: int = MOST_SEGMENTS) -> list[Part]:
    """Cut segments into objects of at most ``most``: none where they fit one, else by group, large groups in pieces."""
    if len(segments) <= most:
        return [Part(name="", segments=tuple(segments))]
    groups: dict[str, list[Segment]] = {}
    for one in segments:
        groups.setdefault(_group(one), []).append(one)
    return [part for name, members in groups.items() for part in _pieces(name, members, most)]


def _group(segment: Segment) -> str:
    label = segment.label
    if label.group:
        return label.group
    if segment.lesion is not None:
        return LESIONS
    named = f"{label.region.meaning if label.region else ''} {label.type.meaning} {label.name.replace('_', ' ')}"
    words = set(re.findall(r"[a-z]+", named.lower()))
    return next((group for group, said in WORDS if words & set(said.split("|"))), OTHERS)


def _pieces(name: str, members: Sequence[Segment], most: int) -> list[Part]:
    count = -(-len(members) // most)
    size = -(-len(members) // count)
    cut = [tuple(members[start: start + size]) for start in range(0, len(members), size)]
    return [Part(name=name if count == 1 else f"{name} {number} of {count}", segments=piece)
            for number, piece in enumerate(cut, start=1)]
