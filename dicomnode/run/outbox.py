"""Which peer gets which objects of a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dicomnode.domain.findings import EncodedObject
from dicomnode.domain.job import NewDelivery
from dicomnode.domain.node import Peer


def deliveries_for(to: Sequence[str], peers: Mapping[str, Peer], objects: Sequence[EncodedObject]) -> list[NewDelivery]:
    """Say which peer gets which objects: of each group the alternatives that it takes, in its own order.

    A peer that takes none of them gets no delivery.
    A peer that left the configuration since the job was made gets a delivery all the same: it shows as stuck.
    """
    groups = list(dict.fromkeys(one.group for one in objects))
    found = []
    for name in to:
        takes = peers[name].takes if name in peers else Peer(name=name, ae_title="UNKNOWN").takes
        items = [
            [one.sop_instance_uid for kind in takes for one in objects if one.group == group and one.kind == kind]
            for group in groups
        ]
        if any(items):
            found.append(NewDelivery(peer=name, items=[item for item in items if item]))
    return found
