"""The tables, as metadata; ``migrations/`` builds the same, and a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from dicomnode.domain.work import State
from dicomnode.ledger.columns import ROW_ID, UtcDateTime, Words

STATES: Final = ", ".join(f"'{state.value}'" for state in State)

metadata = MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
})


def _turns(table: str, lane: str) -> list[Index]:
    """Indexes that keep a claim, and the giving of a turn, cheap whatever the backlog and the history."""
    scheduled, served = text(f"state = '{State.SCHEDULED.value}'"), text("claimed_at IS NOT NULL")
    return [
        Index(f"ix_{table}_queue", "state", "priority", "turn", "run_after", "id"),
        Index(f"ix_{table}_lane", lane, "priority", "turn", postgresql_where=scheduled, sqlite_where=scheduled),
        Index(f"ix_{table}_served", "priority", "turn", postgresql_where=served, sqlite_where=served),
    ]


def _work() -> list[Column[object] | CheckConstraint]:
    """Columns that jobs and deliveries share: ``ledger.work`` knows these and no others."""
    return [
        Column("state", Text, nullable=False),
        Column("attempt", Integer, nullable=False),  # counted at the claim: work that kills its claimant counts
        Column("priority", Integer, nullable=False),  # lower goes first
        Column("turn", BigInteger, nullable=False, server_default="0"),  # of one priority, the lower goes first
        Column("run_after", UtcDateTime, nullable=False),
        Column("token", Text),  # who holds the token holds the work
        Column("lease_until", UtcDateTime),
        Column("owner", Words, nullable=False),  # who claimed last
        Column("claimed_at", UtcDateTime),
        Column("reason", Words, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("changed_at", UtcDateTime, nullable=False),
        CheckConstraint(f"state IN ({STATES})", name="state"),
        CheckConstraint("attempt >= 0", name="attempt"),
        CheckConstraint("(state = 'in_progress') = (token IS NOT NULL)", name="token"),
    ]


offices = Table(
    "offices", metadata,
    Column("office", Text, primary_key=True),  # what only one process of all hosts may do at a time
    Column("holder", Words, nullable=False),
    Column("lease_until", UtcDateTime, nullable=False),
    Column("since", UtcDateTime, nullable=False),
)

outages = Table(
    "outages", metadata,
    Column("peer", Words, primary_key=True),
    Column("since", UtcDateTime, nullable=False),
    Column("failures", Integer, nullable=False),  # in a row
    Column("try_at", UtcDateTime, nullable=False),  # until then nothing is sent to it
    Column("reason", Words, nullable=False),  # of the last failure
)

node = Table(
    "node", metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("node_id", Text, nullable=False),  # random UUID: every UID that this node derives starts from it
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

studies = Table(
    "studies", metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("study_uid", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),  # 1, and one more each time it reopens
    Column("instances", Integer, nullable=False),  # distinct SOP Instance UIDs
    Column("copies", Integer, nullable=False),  # files, where an instance came in several versions
    Column("size_bytes", BigInteger, nullable=False),
    Column("source_ae_titles", JSON, nullable=False),
    Column("first_arrival_at", UtcDateTime, nullable=False),  # since it opened, or reopened
    Column("last_arrival_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),  # the last time
    Column("deleted_at", UtcDateTime),  # its files; what is known of it stays
    CheckConstraint("state IN ('open', 'closed')", name="state"),
    Index(None, "state", "last_arrival_at"),
    Index(None, "last_arrival_at"),
)

instances = Table(
    "instances", metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("study_uid", Text, ForeignKey("studies.study_uid"), nullable=False),
    Column("series_uid", Text, nullable=False),
    Column("sop_instance_uid", Text, nullable=False, index=True),
    Column("sop_class_uid", Text, nullable=False),
    Column("transfer_syntax_uid", Text, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("content_digest", Text, nullable=False),
    Column("geometry_digest", Text, nullable=False),
    Column("pixel_digest", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("path", Text, nullable=False),
    Column("source_ae_title", Words, nullable=False),
    Column("arrived_at", UtcDateTime, nullable=False),
    Column("conflicting", Boolean, nullable=False),  # other pixels or geometry than the first copy
    Column("deleted_at", UtcDateTime),
    Index(None, "study_uid", "series_uid"),
)

jobs = Table(
    "jobs", metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("study_uid", Text, ForeignKey("studies.study_uid"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("route", Words, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("snapshot", Words, nullable=False),
    Column("results_token", Text),  # names the folder whose bytes the results table vouches for
    Column("lane", Words, nullable=False, server_default=text("''")),  # of those who take turns
    *_work(),
    *_turns("jobs", "lane"),
    Index(None, "state", "lease_until"),
)

job_models = Table(
    "job_models", metadata,
    Column("job_id", ROW_ID, ForeignKey("jobs.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("name", Words, nullable=False),
    Column("digest", Text, nullable=False),
)

results = Table(
    "results", metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("job_id", ROW_ID, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("result_group", Text, nullable=False),
    Column("sop_class_uid", Text, nullable=False),
    Column("sop_instance_uid", Text, nullable=False, unique=True),
    Column("series_uid", Text, nullable=False),
    Column("transfer_syntax_uid", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("refers_to", JSON),  # SOP Instance UIDs of other results of the job
)

deliveries = Table(
    "deliveries", metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("job_id", ROW_ID, ForeignKey("jobs.id"), nullable=False),
    Column("study_uid", Text, ForeignKey("studies.study_uid"), nullable=False, index=True),
    Column("peer", Words, nullable=False),
    Column("phase", Text, nullable=False),  # store, then commit where the peer commits
    Column("budget_since", UtcDateTime, nullable=False),  # its age counts from here
    *_work(),
    CheckConstraint("phase IN ('store', 'commit')", name="phase"),
    UniqueConstraint("job_id", "peer"),
    *_turns("deliveries", "peer"),
    Index(None, "state", "lease_until"),
)

delivery_items = Table(
    "delivery_items", metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("delivery_id", ROW_ID, ForeignKey("deliveries.id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("sent_result_id", ROW_ID, ForeignKey("results.id")),
    Column("status", Integer),  # of the C-STORE response
    Column("sent_at", UtcDateTime),
    Column("committed_at", UtcDateTime),
    Column("failure_reason", Integer),  # (0008,1197), where storage commitment failed
    Column("not_taken", Words),  # why the peer took no form of an object that it may refuse
    UniqueConstraint("delivery_id", "ordinal"),
)

delivery_alternatives = Table(
    "delivery_alternatives", metadata,
    Column("item_id", ROW_ID, ForeignKey("delivery_items.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("result_id", ROW_ID, ForeignKey("results.id"), nullable=False),
)

commitments = Table(
    "commitments", metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("transaction_uid", Text, nullable=False, unique=True),
    Column("delivery_id", ROW_ID, ForeignKey("deliveries.id"), nullable=False, index=True),
    Column("asked_at", UtcDateTime, nullable=False),
)

events = Table(
    "events", metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", Text, nullable=False),
    Column("study_uid", Words),  # no foreign key: what was never indexed has a timeline too
    Column("job_id", ROW_ID, ForeignKey("jobs.id"), index=True),
    Column("delivery_id", ROW_ID, ForeignKey("deliveries.id"), index=True),
    Column("text", Words, nullable=False),
    Column("data", JSON, nullable=False),
    Index(None, "study_uid", "at"),
    Index(None, "kind", "at"),
)
