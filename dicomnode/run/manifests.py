"""Which manifests an analysis needs: one for each set of objects that a peer can end up with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

from pydicom import Dataset

from dicomnode.domain.findings import EncodedObject
from dicomnode.domain.node import OPTIONAL
from dicomnode.encode.kos import encode_manifest
from dicomnode.encode.series import Stamp
from dicomnode.run.outbox import items_for

MANIFEST: Final = "KOS"
MOST_REFUSED: Final = 1
"""Of the kinds that a peer's ``takes`` promises, so many may be refused when it is asked; with more, no manifest fits,
the delivery's event says so, and ``takes`` wants mending. Each costs a manifest, of which one at most is sent."""


def manifests(
    objects: Sequence[EncodedObject], audiences: Sequence[Sequence[str]], source: Dataset, stamp: Stamp
) -> tuple[EncodedObject, ...]:
    """Return the manifests of an analysis, alternatives of one another, those that name most first.

    Which forms a peer accepts is known only when it is asked. What is sent is therefore the first manifest all of
    whose objects the peer has then, and that names every object that it got.

    Parameters
    ----------
    audiences:
        The kinds that each peer gets, in its order of preference.
    """
    asking = [dict.fromkeys(kinds) for kinds in audiences if MANIFEST in kinds]
    sets = dict.fromkeys(one for kinds in asking for one in _outcomes(objects, tuple(kinds)))
    by_uid = {one.sop_instance_uid: one for one in objects}
    return tuple(
        encode_manifest([by_uid[uid] for uid in uids], source, stamp) for uids in sorted(sets, key=len, reverse=True)
    )


def _outcomes(objects: Sequence[EncodedObject], kinds: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Return the sets of objects that such a peer can end up with, by SOP Instance UID, in the order of sending."""
    by_uid = {one.sop_instance_uid: one for one in objects}
    items = [[by_uid[uid] for uid in item] for item in items_for(objects, kinds)]
    made = [kind for kind in kinds if any(one.kind == kind for one in objects)]
    for count in range(MOST_REFUSED + 1):
        for refused in combinations(made, count):
            got = _sent(items, frozenset(made) - frozenset(refused))
            if got:
                yield got


def _sent(items: Sequence[Sequence[EncodedObject]], accepted: frozenset[str]) -> tuple[str, ...]:
    """Return what a peer gets that accepts these kinds, by the sender's rule; nothing where the delivery fails."""
    got: dict[str, None] = {}
    for forms in items:
        fitting = [one for one in forms if got.keys() >= set(one.refers_to)]
        optional = all(one.kind in OPTIONAL for one in forms)
        choice = fitting if optional else [*fitting, *(one for one in forms if one not in fitting)]
        first = next((one for one in choice if one.kind in accepted), None)
        if first is not None:
            got[first.sop_instance_uid] = None
        elif not optional:
            return ()
    return tuple(got)
