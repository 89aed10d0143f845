"""What ``[tls]``, ``[receive]`` and the peers say of each other: a door that is asked for has its key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from dicomnode.config.kinds import SOP_CLASS_NAMES
from dicomnode.config.problems import shown
from dicomnode.domain.node import NodeSettings, ReceiveSettings
from dicomnode.domain.roles import WebSettings

Table = Mapping[str, Any]

NEEDED: Final = ("certificate", "key", "ca")


def _tls_has_its_files(raw: Table) -> Iterator[str]:
    tls = _table(raw, "tls")
    missing = [key for key in NEEDED if key not in tls]
    if tls and missing:
        yield (f"[tls]: {', '.join(missing)} missing; TLS needs our certificate and its key, and in ca the "
               "certificates of the authorities that peers' certificates must chain to")
    if "key_password_file" in tls and "key" not in tls:
        yield "[tls] key_password_file: there is no key that it could open"


def _peers_with_tls_have_ours(raw: Table) -> Iterator[str]:
    tls = _table(raw, "tls")
    for name, peer in _peers(raw):
        if peer.get("tls") is True and not tls:
            yield f"[peers.{name}] tls = true: there is no [tls] table with our certificate, its key and ca"
        for key in ("tls_only", "tls_names"):
            if peer.get(key) and not tls.get("port") and peer.get("tls") is not True:
                yield f"[peers.{name}] {key}: [tls] port is not given, so that this peer could never call"


def _some_door_is_open(raw: Table) -> Iterator[str]:
    if _table(raw, "receive").get("plain") is False and not _table(raw, "tls").get("port"):
        yield "[receive] plain = false: [tls] port is not given; the node would listen nowhere"


def _doors_have_own_ports(raw: Table) -> Iterator[str]:
    port = _table(raw, "tls").get("port", 0)
    others = {"[node] port": _table(raw, "node").get("port", NodeSettings().port)}
    web = _table(raw, "web")
    if web.get("enabled", True) is True:
        others["[web] port"] = web.get("port", WebSettings().port)
    if _table(raw, "receive").get("plain") is False:
        del others["[node] port"]
    for place, other in others.items():
        if port == other != 0:
            yield f"[tls] port = {port}: {place} is the same; give each its own"


def _peers_send_what_the_node_takes(raw: Table) -> Iterator[str]:
    taken = _uids(_table(raw, "receive").get("sop_classes", list(ReceiveSettings().sop_classes)))
    for name, peer in _peers(raw):
        strange = [one for one in peer.get("sends", ()) if isinstance(one, str) and not _uids([one]) <= taken]
        if strange:
            yield f"[peers.{name}] sends = {shown(strange)}: [receive] sop_classes does not take it; add it there first"


def _uids(names: object) -> set[str]:
    texts = [one for one in names if isinstance(one, str)] if isinstance(names, list) else []
    return {SOP_CLASS_NAMES.get(one, one) for one in texts}


def _table(raw: Table, name: str) -> Table:
    table = raw.get(name)
    return table if isinstance(table, dict) else {}


def _peers(raw: Table) -> Iterator[tuple[str, Table]]:
    yield from ((name, peer) for name, peer in _table(raw, "peers").items() if isinstance(peer, dict))


TLS_RULES: Final[Sequence[Callable[[Table], Iterator[str]]]] = (
    _tls_has_its_files,
    _peers_with_tls_have_ours,
    _some_door_is_open,
    _doors_have_own_ports,
    _peers_send_what_the_node_takes,
)
