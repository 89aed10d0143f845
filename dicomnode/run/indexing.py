"""Arrivals become rows: link into the store, commit, unlink. No crash between the three loses an image."""

from __future__ import annotations

import filecmp
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from typing import Final

from dicomnode import logs
from dicomnode.domain.node import NodeConfig
from dicomnode.domain.study import InstanceRecord
from dicomnode.errors import CannotUnderstand, SpoolUnavailable
from dicomnode.ledger import events, studies
from dicomnode.ledger.copies import IDENTICAL
from dicomnode.ledger.engine import Ledger
from dicomnode.read import header
from dicomnode.run.auditing import Auditor
from dicomnode.spool import Arrival, Spool

BATCH: Final = 256
"""Arrivals indexed in one transaction."""

log = logs.get("run")


@dataclass(frozen=True, slots=True)
class _Read:
    arrival: Arrival
    record: InstanceRecord


class Indexer:
    """Moves arrivals into the store and the ledger."""

    def __init__(self, config: NodeConfig, spool: Spool, ledger: Ledger) -> None:
        self._auditor = Auditor(config)
        self._fallback = {p.ae_title: p.charset_fallback for p in config.peers.values() if p.charset_fallback}
        self._spool = spool
        self._ledger = ledger
        self._unreadable: set[Path] = set()

    def step(self, now: datetime) -> int:
        """Index up to ``BATCH`` arrivals, oldest first; return how many, 0 where nothing readable waits."""
        readable = (one for one in self._spool.arrivals() if one.path not in self._unreadable)
        arrivals = list(islice(readable, BATCH))
        if not arrivals:
            return 0
        read = [item for arrival in arrivals if (item := self._read(arrival, now)) is not None]
        own, foreign = self._split_own(read)
        placed = self._place(foreign)
        with self._ledger.write() as connection:
            outcomes = studies.record_instances(connection, placed, now=now)
            for item in own:
                events.record(
                    connection,
                    at=now,
                    kind="own_output_returned",
                    study_uid=item.record.study_uid,
                    text="a result of this node came back and was not indexed",
                    data={"sop_instance_uid": item.record.sop_instance_uid},
                )
        for outcome in outcomes:
            if outcome.what in {"conflict", "demographics"}:
                log.warning("instance_differs", what=outcome.what, sop_instance_uid=outcome.sop_instance_uid)
        for association, study_uid in {(item.arrival.association, item.record.study_uid) for item in foreign}:
            self._spool.mark_fed(association, study_uid)
        self._audit(read, {one.sop_instance_uid: one.what for one in outcomes})
        for item in read:
            self._spool.unlink_arrival(item.arrival.path)
        return len(arrivals)

    def _audit(self, read: Sequence[_Read], what: Mapping[str, str]) -> None:
        """Note what came before its arrival is forgotten: after a crash it is noted again, as the same image."""
        came: dict[str, list[tuple[str, InstanceRecord, str]]] = {}
        for item in read:
            was = what.get(item.record.sop_instance_uid, IDENTICAL)
            came.setdefault(item.arrival.association, []).append((item.arrival.path.name, item.record, was))
        self._auditor.note(came)

    def _read(self, arrival: Arrival, now: datetime) -> _Read | None:
        try:
            record = header.record(arrival.path)
            fallback = self._fallback.get(record.source_ae_title)
            if fallback and "SpecificCharacterSet" not in record.attributes:
                record = header.record(arrival.path, charset_fallback=fallback)
        except CannotUnderstand as error:
            self._spool.quarantine(arrival.path, error.reason)
            with self._ledger.write() as connection:
                events.record(
                    connection,
                    at=now,
                    kind="instance_quarantined",
                    text=error.reason,
                    data={"file": arrival.path.name, "association": arrival.association},
                )
            log.warning("instance_quarantined", association=arrival.association, reason=error.reason)
            return None
        except SpoolUnavailable as error:
            self._pass_over(arrival, error, now)
            return None
        return _Read(arrival, replace(record, arrived_at=arrival.arrived_at))

    def _pass_over(self, arrival: Arrival, error: SpoolUnavailable, now: datetime) -> None:
        """Leave a file that the disk does not give where it is until this process starts again, and say so."""
        if not arrival.path.exists():
            return
        self._unreadable.add(arrival.path)
        with self._ledger.write() as connection:
            events.record(connection, at=now, kind="arrival_unreadable", text=error.reason)
        log.error("arrival_unreadable", association=arrival.association, reason=error.reason)

    def _split_own(self, read: Sequence[_Read]) -> tuple[list[_Read], list[_Read]]:
        with self._ledger.read() as connection:
            known = studies.own_sop_instance_uids(connection, [item.record.sop_instance_uid for item in read])
        own = [i for i in read if i.record.sop_instance_uid in known or header.is_own_output(i.record)]
        return own, [item for item in read if item not in own]

    def _place(self, read: Sequence[_Read]) -> list[InstanceRecord]:
        """Link each new copy into the store under a name that nothing else has."""
        with self._ledger.read() as connection:
            kept = studies.look_up(connection, [item.record.sop_instance_uid for item in read])
        placed: list[InstanceRecord] = []
        links: list[tuple[Path, str]] = []
        for item in read:
            copies = kept.setdefault(item.record.sop_instance_uid, [])
            same = next((c for c in copies if c.content_digest == item.record.content_digest), None)
            if same is not None:
                placed.append(replace(item.record, path=same.path))
                continue
            taken = {relative for _, relative in links}
            record = replace(item.record, path=self._free_name(item, len(copies), taken))
            links.append((item.arrival.path, record.path))
            copies.append(record)
            placed.append(record)
        self._spool.link_all_into_store(links)
        return placed

    def _free_name(self, item: _Read, copy: int, taken: Container[str]) -> str:
        """Choose a store path that is free, or that a crash left with these very bytes; rows alone do not tell."""
        names = (header.store_path(item.record, number) for number in count(copy))
        return next(name for name in names if name not in taken and self._is_free(name, item.arrival.path))

    def _is_free(self, relative: str, arrival: Path) -> bool:
        target = self._spool.store_path(relative)
        return not target.exists() or filecmp.cmp(target, arrival, shallow=False)
