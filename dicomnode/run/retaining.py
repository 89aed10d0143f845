"""Retention's conductor: finished studies leave the disk by age and by disk floor, and nothing else does.

Do, then commit, is reversed here and nowhere else: a study is forgotten first and deleted then, for a row must never
name a file that is gone. What a crash leaves between the two is found and deleted.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from dicomnode import logs
from dicomnode.domain.node import NodeConfig
from dicomnode.ledger import retention
from dicomnode.ledger.engine import Ledger
from dicomnode.run.auditing import Auditor
from dicomnode.run.custody import open_requests
from dicomnode.spool import Spool

LEFT_BEHIND: Final = timedelta(days=30)
"""What was forgotten this long ago has been deleted since."""
INTERRUPTED: Final = "a deletion that was interrupted is completed"

log = logs.get("run")


def retain(config: NodeConfig, ledger: Ledger, spool: Spool, auditor: Auditor, now: datetime) -> int:
    """Delete finished studies by age and disk floor, and say what holds the disk where that is not enough."""
    deleted = finish_deleting(ledger, spool, auditor, now) + _delete_finished(config, ledger, spool, auditor, now)
    if is_short(config, spool):
        _tell_what_holds(config, ledger, spool)
    return deleted


def relieve(config: NodeConfig, ledger: Ledger, spool: Spool, auditor: Auditor, now: datetime) -> int:
    """Delete what may go as soon as the disk floor is undercut: a full disk does not wait for the timer."""
    return _delete_finished(config, ledger, spool, auditor, now) if is_short(config, spool) else 0


def _delete_finished(config: NodeConfig, ledger: Ledger, spool: Spool, auditor: Auditor, now: datetime) -> int:
    """Delete by age, then by disk floor, the oldest first; never what waits for analysis, delivery or commitment."""
    before = now - timedelta(days=config.retention.keep_days)
    with ledger.read() as connection:
        finished = retention.finished_studies(connection, before=now)
    promised = {study_uid for _, request in open_requests(spool) for study_uid in request.studies}
    deleted = 0
    for study in finished:
        too_old = study.finished_at < before
        if study.study_uid in promised or not (too_old or is_short(config, spool)):
            continue
        because = _because(config, study, too_old=too_old)
        with ledger.write() as connection:
            if not retention.forget_files(connection, study, now=now, because=because):
                continue
        auditor.deleted(ledger, study.study_uid, because)
        freed = spool.remove_study(study.path_prefix)
        log.info("study_deleted", study_uid=study.study_uid, freed_bytes=freed, because=because)
        deleted += 1
    return deleted


def finish_deleting(ledger: Ledger, spool: Spool, auditor: Auditor, now: datetime) -> int:
    """Delete what a crash left of studies that retention had already forgotten; count them."""
    with ledger.read() as connection:
        forgotten = retention.forgotten_folders(connection, since=now - LEFT_BEHIND)
    left = [one for one in forgotten if spool.store_path(one[1]).is_dir()]
    for study_uid, folder in left:
        auditor.deleted(ledger, study_uid, INTERRUPTED)
        freed = spool.remove_study(folder)
        log.info("study_deleted", study_uid=study_uid, freed_bytes=freed, because=INTERRUPTED)
    return len(left)


def is_short(config: NodeConfig, spool: Spool) -> bool:
    """Whether less is free than retention is to keep free."""
    return spool.free_bytes() < config.retention.free_gb_wanted * 1e9


def _because(config: NodeConfig, study: retention.FinishedStudy, *, too_old: bool) -> str:
    if not too_old:
        return f"less than free_gb_wanted = {config.retention.free_gb_wanted:g} was free, and it was the oldest"
    return f"finished {study.finished_at:%Y-%m-%d %H:%M} UTC, keep_days = {config.retention.keep_days:g}"


def _tell_what_holds(config: NodeConfig, ledger: Ledger, spool: Spool) -> None:
    with ledger.read() as connection:
        held = retention.held(connection)
    log.warning("disk_floor_not_met", free_bytes=spool.free_bytes(), free_gb_wanted=config.retention.free_gb_wanted,
                held={why: {"studies": count, "bytes": size} for why, (count, size) in held.items()})
