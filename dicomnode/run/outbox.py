"""Which peer gets which objects of a job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from dicomnode.domain.findings import EncodedObject
from dicomnode.domain.job import NewDelivery
from dicomnode.domain.model import ModelFile
from dicomnode.domain.node import DEFAULT_TAKES, Peer, Route

MADE_ANYWAY: Final[Mapping[str, str]] = MappingProxyType(
    {"capture": "SC", "gsps": "GSPS", "rtstruct": "RTSTRUCT", "parametric": "PM"})
"""Key of a model file's ``[outputs]`` → the kind of object that it asks for, whoever takes it."""


def kinds_for(peer: str, peers: Mapping[str, Peer], outputs: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the kinds of objects that a peer of a route gets: those that it takes, then those that the route adds."""
    takes = peers[peer].takes if peer in peers else DEFAULT_TAKES
    return tuple(dict.fromkeys((*takes, *outputs)))


def audiences(
    to: Sequence[str], peers: Mapping[str, Peer], outputs: Sequence[str] = ()
) -> tuple[tuple[str, ...], ...]:
    """Return what each peer of a route gets, each list of kinds once; where there is no peer, a peer's unasked."""
    return tuple(dict.fromkeys(kinds_for(peer, peers, outputs) for peer in to or ("",)))


def going_nowhere(route: Route, peers: Mapping[str, Peer], models: Sequence[ModelFile]) -> Iterator[str]:
    """Say what a route or its models ask for and no peer gets, and which peer gets no form of a segmentation."""
    got = {kind for peer in route.to for kind in kinds_for(peer, peers, route.outputs)}
    if route.outputs and not route.to:
        yield f"outputs = {list(route.outputs)} reaches nobody: the route has no peer in `to`"
    for model in models:
        if not (model.outputs.seg or model.outputs.sr or got & {*MADE_ANYWAY.values()}):
            yield (f"model {model.name} makes nothing that anybody gets: seg and sr are false in its [outputs]; set "
                   "one to true, or name other kinds in `outputs` of the route")
        for key, kind in MADE_ANYWAY.items():
            if getattr(model.outputs, key) and kind not in got:
                yield f"model {model.name} makes {kind} and nobody gets it: no peer takes it, nor is it in `outputs`"
        if model.overlapping and model.outputs.seg:
            yield from (f"{peer} takes LABELMAP and not SEG: labels of model {model.name} overlap, which only SEG can "
                        "say" for peer in route.to
                        if "LABELMAP" in kinds_for(peer, peers) and "SEG" not in kinds_for(peer, peers))


def deliveries_for(
    to: Sequence[str], peers: Mapping[str, Peer], objects: Sequence[EncodedObject], outputs: Sequence[str] = ()
) -> list[NewDelivery]:
    """Say which peer gets which objects: of each group the alternatives that it takes, in its own order.

    A peer that takes none of them gets no delivery.
    A peer that left the configuration since the job was made gets a delivery all the same: it shows as stuck.
    """
    found = []
    for name in to:
        items = items_for(objects, kinds_for(name, peers, outputs))
        if items:
            found.append(NewDelivery(peer=name, items=items))
    return found


def with_notes(deliveries: Sequence[NewDelivery], notes: Mapping[str, EncodedObject]) -> list[NewDelivery]:
    """Return the deliveries, each with its peer's rejection note as the last item; a note alone makes a delivery too.

    Last, so that a peer always has results: the new ones come before the old ones go.
    """
    items = {one.peer: list(one.items) for one in deliveries}
    for peer, note in notes.items():
        items.setdefault(peer, []).append((note.sop_instance_uid,))
    return [NewDelivery(peer=peer, items=those) for peer, those in items.items()]


def remarks(
    to: Sequence[str], deliveries: Sequence[NewDelivery], objects: Sequence[EncodedObject], notes: Iterable[str],
    not_made: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[tuple[str, str]]:
    """Say what could not be made, what a peer does not get, and what it is told to reject: kind of event and text."""
    for kind, why in not_made.items():
        yield "object_not_made", f"no {kind}, the other {len(objects)} objects are there without it: {why}"
    for peer in sorted(set(to) - {one.peer for one in deliveries}):
        yield "nothing_for_peer", (
            f"{peer} takes none of the {len(objects)} objects: nothing is sent; see takes in [peers.{peer}]" if objects
            else f"the analysis made no object, and nothing is sent to {peer}; see [outputs] in the model files")
    for peer in notes:
        yield "earlier_rejected", f"{peer} is told by a rejection note which earlier results these supersede"


def items_for(objects: Sequence[EncodedObject], kinds: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the alternatives of each group; an object that stands for several groups is one of each of them."""
    groups = list(dict.fromkeys(one.group for one in objects))
    several = {group.partition("/")[0] for group in groups if "/" in group}
    items = [
        tuple(one.sop_instance_uid for kind in kinds for one in objects
              if one.kind == kind and one.group in {group, group.partition("/")[0]})
        for group in groups if group not in several
    ]
    return [item for item in dict.fromkeys(items) if item]
