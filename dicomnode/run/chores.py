"""The keeper's chores: each idempotent, each told the time, each safe to miss."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Final

from dicomnode import logs
from dicomnode.domain.node import NodeConfig
from dicomnode.domain.work import Backoff
from dicomnode.ledger import deliveries, jobs
from dicomnode.ledger.engine import Ledger
from dicomnode.run.bell import ring
from dicomnode.run.matching import notice_after_failure
from dicomnode.spool import Spool

AFTER_OUTAGE_S: Final = 15.0
"""So long after the database was away nothing counts as dropped: who works on it had no way to say so."""

log = logs.get("run")


def rescue(config: NodeConfig, ledger: Ledger, now: datetime) -> int:
    """Give back work whose claimant died; bury what has spent its budget, and say so to the radiologist."""
    if not ledger.answered_for(AFTER_OUTAGE_S):
        return 0
    worker, sender = config.worker, config.delivery
    with ledger.write() as connection:
        rescued, buried = jobs.rescue(
            connection,
            now=now,
            attempts=worker.attempts,
            backoff=Backoff(first_s=worker.backoff_s, most_s=worker.backoff_max_s),
        )
        for job_id in buried:
            text = f"the analysis process died or hung {worker.attempts} times; the attempts are spent"
            notice_after_failure(
                connection, jobs.get(connection, job_id), reason="ModelProcessDied", text=text, now=now
            )
        sent_back, sent_buried = deliveries.rescue(
            connection,
            now=now,
            max_age=timedelta(hours=sender.max_age_h),
            backoff=Backoff(first_s=sender.backoff_s, most_s=sender.backoff_max_s),
        )
    found = len(rescued) + len(buried) + len(sent_back) + len(sent_buried)
    if found:
        log.warning(
            "work_rescued", jobs=rescued, jobs_buried=buried, deliveries=sent_back, deliveries_buried=sent_buried
        )
        for role in ("worker", "sender"):
            ring(config.node.data_dir / "run", role)
    return found


def apply_commitments(config: NodeConfig, ledger: Ledger, spool: Spool, now: datetime) -> int:
    """Apply storage commitment answers that the receiver put down (PS3.4 Annex J)."""
    applied = 0
    for path in spool.events("commitment"):
        answer = json.loads(path.read_bytes())
        with ledger.write() as connection:
            deliveries.prove(
                connection,
                transaction_uid=answer["transaction_uid"],
                committed_uids=frozenset(answer["committed"]),
                failed=answer["failed"],
                now=now,
                run_after=now + timedelta(seconds=config.delivery.commit_ask_again_s),
                max_age=timedelta(hours=config.delivery.max_age_h),
            )
        path.unlink(missing_ok=True)
        applied += 1
    return applied


def sweep(ledger: Ledger, spool: Spool, now: datetime) -> int:
    """Remove what crashes left: temporary files, empty folders, results that no row names."""
    _ = now
    swept = spool.sweep_arrivals()
    with ledger.read() as connection:
        kept = jobs.result_folders(connection)
    return swept + spool.sweep_results(kept)
