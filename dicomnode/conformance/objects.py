"""The objects that the node makes, attribute by attribute, and what it makes fit before it copies."""

from __future__ import annotations

from io import BytesIO
from typing import Final

from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_description, dictionary_has_tag
from pydicom.tag import Tag

from dicomnode.conformance import prose
from dicomnode.conformance.content import content_table
from dicomnode.conformance.document import Cell, Section, Table
from dicomnode.conformance.facts import Facts, Made, name_of
from dicomnode.conformance.origins import Attribute, attributes
from dicomnode.conformance.sample import REJECTED
from dicomnode.read.normalise import SINGLE, WANTED, normalise

COLUMNS: Final = ("Attribute", "Tag", "VR", "Presence", "Origin", "Value")
MADE: Final = "Objects that this configuration makes"
COERCED: Final = "Values that are made fit before they are copied"
TEMPLATE_TABLE: Final = "Templates and context groups"
MOST_FIXED: Final = 4
"""So many fixed values are written out; of more, their number."""
MOST_CHARS: Final = 80
CONTEXT_GROUPS: Final = (
    ("Procedure reported", "CID 100"), ("Finding, of a measurement group", "stated in the model file"),
    ("Finding category; Segmented Property Category", "CID 7150, stated in the model file"),
    ("Finding Site; Anatomic Region", "stated in the model file"), ("Laterality", "CID 244"),
    ("Algorithm Family", "CID 7162"), ("Purpose of Reference of Contributing Equipment", "CID 7005"),
    ("Diameter", "CID 7470"), ("Volume", "CID 7472"), ("Derivation", "CID 7464"), ("Units of volume", "CID 7462"),
    ("Presence of property", "CID 240"), ("Title of a measurement report", "CID 7021"),
    ("Title of a text report", "CID 7000"), ("Title of a key object selection", "CID 7010"), ("Language", "CID 5000"),
)
BROKEN: Final = {"PatientSex": "U", "PatientAge": "61", "PatientBirthDate": "1961", "StudyTime": "25",
                 "InstitutionName": "N" * 80, "AccessionNumber": "N" * 20}
"""Values that no result may carry."""


def objects(facts: Facts) -> Section:
    """Write the section on what the node makes."""
    distinct = _distinct(facts)
    contents = (content_table(f"Content of {_title(made)}", made.first[0], made.second[0]) for made in distinct)
    return Section(title="Created Information Objects", text=prose.ATTRIBUTES, tables=(made_table(facts),), sections=(
        *(Section(title=_title(made), tables=(_attributes(made, facts),)) for made in distinct),
        Section(title="Templates", text=prose.TEMPLATES,
                tables=(*(table for table in contents if table is not None), _context_groups())),
        Section(title="Unique identifiers", text=prose.UIDS),
        Section(title="Attribute coercion", text=prose.COERCIONS, tables=(coercions(),)),
        Section(title="Extensions, specialisations and private attributes", text=prose.EXTENSIONS),
    ))


def made_table(facts: Facts) -> Table:
    """Return each object with its SOP Class, the case in which it is made, and who gets it."""
    rows: list[tuple[Cell, ...]] = []
    for made in facts.made:
        peers = tuple(peer.name for peer in facts.receiving
                      if (peer.rejection_notes if made.case == REJECTED else made.kind in facts.kinds_of(peer.name)))
        rows.append((made.kind, name_of(made.sop_class_uid), made.sop_class_uid,
                     name_of(made.first[0].transfer_syntax_uid), made.case, peers))
    return Table(title=MADE, rows=tuple(rows), columns=(
        "Kind", "SOP Class", "SOP Class UID", "Transfer syntax", "Made for a study with", "Peers that get it"))


def _distinct(facts: Facts) -> list[Made]:
    """Return the objects that differ in more than the case: one of each kind and purpose."""
    return list({(made.kind, made.group): made for made in reversed(facts.made)}.values())[::-1]


def _title(made: Made) -> str:
    return f"{name_of(made.sop_class_uid)}: {made.group}"


def _attributes(made: Made, facts: Facts) -> Table:
    header = dcmread(BytesIO(made.first[0].payload), stop_before_pixels=True)
    found = attributes(*(one for one in facts.made if (one.kind, one.group) == (made.kind, made.group)))
    title = f"Attributes of {_title(made)} (Modality {header.Modality})"
    return Table(title=title, columns=COLUMNS, rows=tuple(_row(one) for one in found))


def _row(one: Attribute) -> tuple[Cell, ...]:
    tag = Tag(one.path[-1])
    name = dictionary_description(tag) if dictionary_has_tag(tag) else "private"
    return ("> " * (len(one.path) - 1) + name, f"({tag.group:04X},{tag.element:04X})", one.vr,
            one.presence.value, ", ".join(origin.value for origin in one.origins), _value(one))


def _value(one: Attribute) -> Cell:
    if one.copy_of:
        return f"{one.copy_of} of the source"
    if len(one.fixed) > MOST_FIXED:
        return f"{len(one.fixed)} values"
    return tuple(f"{text[:MOST_CHARS]}…" if len(text) > MOST_CHARS else text for text in one.fixed)


def _context_groups() -> Table:
    return Table(title=TEMPLATE_TABLE, columns=("Concept", "Context group"), rows=CONTEXT_GROUPS)


def coercions() -> Table:
    """Return what happens to values that results could not carry: what the reader notes of such a header."""
    notes: dict[str, None] = {}
    for header in (Dataset(), _broken()):
        normalise(header, charset_fallback="", lenient=True, note=lambda text: notes.update({text: None}))
    rows = tuple((keyword, done) for keyword, _, done in (text.partition(" ") for text in notes))
    return Table(title=COERCED, columns=("Attribute", "What is met, and what is done"), rows=rows)


def _broken() -> Dataset:
    with disable_value_validation():
        return _with_broken_values()


def _with_broken_values() -> Dataset:
    header = Dataset()
    for keyword in (*SINGLE, *WANTED):
        setattr(header, keyword, "")
    for keyword, value in BROKEN.items():
        setattr(header, keyword, value)
    header.StudyDescription = ["first", "second"]
    return header
