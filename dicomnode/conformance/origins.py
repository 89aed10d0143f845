"""Where each attribute of a created object comes from, told from two objects that share nothing but the node's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from io import BytesIO
from typing import Any, Final

from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import keyword_for_tag

from dicomnode.conformance.facts import Made
from dicomnode.conformance.sample import Example
from dicomnode.domain.findings import EncodedObject

BULK_VRS: Final = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
NUMBER_VRS: Final = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "AT"})
TREE: Final = "ContentSequence"
"""The content of a report has a table of its own."""

Path = tuple[int, ...]
"""Tags from the top to an attribute, sequence items taken together."""
Values = frozenset[str]


class Origin(Enum):
    """Where a value comes from."""

    COPIED = "copied"  # from the attribute of the same name in the source images, or the one that is named
    MODEL = "model file"  # the administrator's, or the publisher's
    NODE = "node"  # the node's identity, made with its database
    FIXED = "fixed"  # the same in every object of this version of the node
    GENERATED = "generated"  # computed for this object
    EMPTY = "empty"  # present without a value
    SEQUENCE = "items"  # see the rows below


class Presence(Enum):
    """Whether an attribute is there, by the names of PS3.2."""

    ALWAYS = "ALWAYS"  # with a value
    VNAP = "VNAP"  # value not always present
    ANAP = "ANAP"  # attribute not always present
    EMPTY = "EMPTY"  # never with a value


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute of an object, in every place where it stands on one path.

    Parameters
    ----------
    fixed:
        The values that every object has.
    copy_of:
        The attribute of the source images that it repeats, where that has another name.
    """

    path: Path
    vr: str
    origins: tuple[Origin, ...]
    presence: Presence = Presence.ALWAYS
    fixed: tuple[str, ...] = ()
    copy_of: str = ""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one of two objects holds, and what it may have it from."""

    values: Mapping[Path, Values]
    vrs: Mapping[Path, str]
    source: Mapping[str, Values]
    model: Values
    node: Values


def attributes(*made: Made) -> tuple[Attribute, ...]:
    """Return every attribute of objects of one kind, in the data set's order, with its origin and presence."""
    pairs = [(_seen(*one.first), _seen(*one.second)) for one in made]
    objects = [*(seen.values for pair in pairs for seen in pair), *(_held(one.sparse)[0] for one in made)]
    first = {path: pair for pair in reversed(pairs) for seen in pair for path in seen.vrs}
    return tuple(replace(_attribute(path, *first[path]), presence=_presence(path, objects)) for path in sorted(first))


def _presence(path: Path, objects: Sequence[Mapping[Path, Values]]) -> Presence:
    if not all(path in one for one in objects):
        return Presence.ANAP
    valued = [bool(one[path]) for one in objects]
    return Presence.ALWAYS if all(valued) else Presence.VNAP if any(valued) else Presence.EMPTY


def _held(encoded: EncodedObject) -> tuple[dict[Path, Values], dict[Path, str]]:
    """Return the values and the VR of every attribute."""
    values: dict[Path, Values] = {}
    vrs: dict[Path, str] = {}
    for path, element in elements(dcmread(BytesIO(encoded.payload))):
        vrs[path] = element.VR
        values[path] = values.get(path, frozenset()) | _texts(element)
    return values, vrs


def _seen(encoded: EncodedObject, example: Example) -> _Seen:
    values, vrs = _held(encoded)
    source: dict[str, Values] = {}
    for header in example.headers:
        for element in header:
            source[element.keyword] = source.get(element.keyword, frozenset()) | _texts(element)
    return _Seen(values, vrs, source, frozenset(_strings(asdict(example.model))),
                 frozenset({str(example.identity.node_id)}))


def elements(dataset: Dataset, above: Path = ()) -> Iterator[tuple[Path, DataElement]]:
    """Yield every attribute with its path; of a report's content only that it is there."""
    for element in dataset:
        path = (*above, int(element.tag))
        yield path, element
        if element.VR == "SQ" and element.keyword != TREE:
            for item in element.value:
                yield from elements(item, path)


def _texts(element: DataElement) -> Values:
    if element.VR == "SQ":
        return frozenset({"items"}) if element.value else frozenset()
    if element.VR in BULK_VRS:
        return frozenset({repr(element.value)})
    values = element.value if element.VM > 1 else [element.value]
    numbers = element.VR in {"DS", "FL", "FD"}
    given = [value for value in values if value is not None]
    texts = (f"{float(value):.9g}" if numbers and value != "" else str(value) for value in given)
    return frozenset(text for text in texts if text)


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - a model file holds what it holds
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, str) and value:
        yield value


def _attribute(path: Path, one: _Seen, other: _Seen) -> Attribute:
    vr = one.vrs.get(path) or other.vrs[path]
    found, again = one.values.get(path, frozenset()), other.values.get(path, frozenset())
    keyword = keyword_for_tag(path[-1])
    if not found | again:
        return Attribute(path=path, vr=vr, origins=(Origin.EMPTY,))
    if vr == "SQ":
        return Attribute(path=path, vr=vr, origins=(Origin.SEQUENCE,))
    same = found & again
    if found == again:
        return Attribute(path=path, vr=vr, origins=(Origin.FIXED,), fixed=tuple(sorted(same)))
    copied = _copied(keyword, vr, (found, one), (again, other))
    if copied:
        return Attribute(path=path, vr=vr, origins=(Origin.COPIED,), copy_of=copied if copied != keyword else "")
    fixed = frozenset[str]() if vr in NUMBER_VRS else same
    met = {_origin(keyword, value, seen) for values, seen in ((found, one), (again, other)) for value in values - fixed}
    met |= {Origin.FIXED} if fixed else set()
    return Attribute(path=path, vr=vr, origins=tuple(one for one in Origin if one in met), fixed=tuple(sorted(fixed)))


def _copied(keyword: str, vr: str, *both: tuple[Values, _Seen]) -> str:
    """Return the attribute of the source images that holds every value; of another name only where it is a UID."""
    candidates = (keyword, *(both[0][1].source if vr == "UI" else ()))
    return next((name for name in candidates
                 if all(values and values <= seen.source.get(name, frozenset()) for values, seen in both)), "")


def _origin(keyword: str, value: str, seen: _Seen) -> Origin:
    if value in seen.source.get(keyword, frozenset()):
        return Origin.COPIED
    if value in seen.model:
        return Origin.MODEL
    return Origin.NODE if value in seen.node else Origin.GENERATED
