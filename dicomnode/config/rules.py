"""What one key says of another: peers and models that routes name, titles that must differ.

The rules read the raw tables, so that they find their mistakes even where the schema found others;
a value of the wrong kind is the schema's to report and is passed over here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from dicomnode.config.kinds import near
from dicomnode.config.problems import shown
from dicomnode.config.tls_rules import TLS_RULES
from dicomnode.domain.node import NodeSettings, ReceiveSettings
from dicomnode.domain.roles import RetentionSettings, WebSettings

Table = Mapping[str, Any]

DICOM_PORT: Final = NodeSettings().port
PAGE_PORT: Final = WebSettings().port
MIN_FREE_GB: Final = ReceiveSettings().min_free_gb
FREE_GB_WANTED: Final = RetentionSettings().free_gb_wanted


def broken_rules(raw: Table) -> Iterator[str]:
    """Yield one line per broken rule, without the file's name."""
    for rule in RULES:
        yield from rule(raw)


def route_places(raw: Table) -> Iterator[tuple[str, Table]]:
    """Yield each route with its name as the problems write it."""
    routes = raw.get("routes", [])
    for number, route in enumerate(routes if isinstance(routes, list) else [], start=1):
        if isinstance(route, dict):
            name = route.get("name")
            yield f'[[routes]] "{name}"' if isinstance(name, str) else f"[[routes]] number {number}", route


def words(value: object) -> list[str]:
    """Return a text, or the texts of a list, as a list."""
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def _routes_have_own_names(raw: Table) -> Iterator[str]:
    counts = Counter(name for _, route in route_places(raw) for name in words(route.get("name")))
    for name, count in counts.items():
        if count > 1:
            yield f'[[routes]] "{name}": the name stands {count} times; each route needs its own'


def _routes_name_known_peers(raw: Table) -> Iterator[str]:
    peers = _tables(raw, "peers")
    for place, route in route_places(raw):
        for key in ("from", "to"):
            for name in words(route.get(key)):
                if name not in peers:
                    hint = near(name, tuple(peers)) or f"; known are {', '.join(peers) or 'none'}"
                    yield f"{place}: {key} = {shown(name)}: there is no [peers.{name}]{hint}"


def _receiving_peers_have_an_address(raw: Table) -> Iterator[str]:
    peers = _tables(raw, "peers")
    targets = {name: place for place, route in route_places(raw) for name in words(route.get("to")) if name in peers}
    for name, place in targets.items():
        missing = [key for key in ("host", "port") if key not in peers[name]]
        if missing:
            yield f"[peers.{name}]: {' and '.join(missing)} missing, needed because {place} sends to it"


def _host_and_port_go_together(raw: Table) -> Iterator[str]:
    for name, peer in _tables(raw, "peers").items():
        if ("host" in peer) != ("port" in peer):
            there, absent = ("host", "port") if "host" in peer else ("port", "host")
            yield f"[peers.{name}]: {there} is given without {absent}; give both, or neither for a peer that only sends"


def _what_is_sent_needs_an_address(raw: Table) -> Iterator[str]:
    for name, peer in _tables(raw, "peers").items():
        for key in ("storage_commitment", "rejection_notes"):
            if peer.get(key) is True and "host" not in peer and "port" not in peer:
                yield (f"[peers.{name}] {key} = true: allowed only of a peer with host and port; nothing is ever sent "
                       "to one without")


def _callers_can_be_told_apart(raw: Table) -> Iterator[str]:
    seen: dict[str, str] = {}
    for name, peer in _tables(raw, "peers").items():
        title = peer.get("ae_title")
        if not isinstance(title, str) or peer.get("addresses") or peer.get("tls_names"):
            continue
        if title.strip() in seen:
            yield (f"[peers.{name}] ae_title = {shown(title)}: peers.{seen[title.strip()]} has it too; "
                   "give each its own, or say by addresses = [...] from where each calls, or by tls_names = [...] "
                   "which certificate each has")
        seen.setdefault(title.strip(), name)


def _waits_are_in_order(raw: Table) -> Iterator[str]:
    pairs = (("completion", "quiet_s", "max_wait_s"), ("worker", "backoff_s", "backoff_max_s"),
             ("delivery", "backoff_s", "backoff_max_s"))
    for name, shorter, longer in pairs:
        table = raw.get(name)
        low, high = (table.get(shorter), table.get(longer)) if isinstance(table, dict) else (None, None)
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            yield f"[{name}] {shorter} = {low}: allowed are values up to {longer} = {high}"


def _studies_leave_before_the_disk_is_full(raw: Table) -> Iterator[str]:
    retention, receive = (raw.get(name, {}) for name in ("retention", "receive"))
    if not isinstance(retention, dict) or not isinstance(receive, dict):
        return
    wanted_gb, floor_gb = retention.get("free_gb_wanted", FREE_GB_WANTED), receive.get("min_free_gb", MIN_FREE_GB)
    if isinstance(wanted_gb, int | float) and isinstance(floor_gb, int | float) and wanted_gb < floor_gb:
        said = "" if "free_gb_wanted" in retention else " (the default)"
        yield (f"[retention] free_gb_wanted = {wanted_gb:g}{said}: allowed are values from [receive] min_free_gb = "
               f"{floor_gb:g}; with less space than that nothing is received")


def _one_place_for_the_database_url(raw: Table) -> Iterator[str]:
    node = raw.get("node")
    if isinstance(node, dict) and node.get("database_url") and node.get("database_url_file"):
        yield "[node] database_url_file: database_url is given too; keep one of them"


def _page_and_dicom_have_own_ports(raw: Table) -> Iterator[str]:
    node, web = (raw.get(name) for name in ("node", "web"))
    if not isinstance(node, dict) or not isinstance(web, dict):
        return
    dicom_port, page_port = node.get("port", DICOM_PORT), web.get("port", PAGE_PORT)
    if web.get("enabled", True) is True and dicom_port == page_port != 0:
        yield f"[web] port = {page_port}: [node] port is the same; give each its own"


def _tables(raw: Table, name: str) -> dict[str, Table]:
    tables = raw.get(name)
    return {key: value for key, value in tables.items() if isinstance(value, dict)} if isinstance(tables, dict) else {}


RULES: Final[Sequence[Callable[[Table], Iterator[str]]]] = (
    _routes_have_own_names,
    _routes_name_known_peers,
    _receiving_peers_have_an_address,
    _host_and_port_go_together,
    _what_is_sent_needs_an_address,
    _callers_can_be_told_apart,
    _waits_are_in_order,
    _studies_leave_before_the_disk_is_full,
    _one_place_for_the_database_url,
    _page_and_dicom_have_own_ports,
    *TLS_RULES,
)
