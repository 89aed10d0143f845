"""The first schema: studies, instances, jobs, results, deliveries, events.

Revision ID: 0001
Revises: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
STATES = "state IN ('scheduled', 'in_progress', 'completed', 'failed', 'canceled')"
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table; the order is that of their references."""
    _node()
    _studies()
    _instances()
    _jobs()
    _deliveries()
    _job_models()
    _results()
    _commitments()
    _delivery_items()
    _events()
    _delivery_alternatives()


def _node() -> None:
    op.create_table(
        "node",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_node_one_row")),
        sa.PrimaryKeyConstraint("id", name="pk_node"),
    )


def _studies() -> None:
    op.create_table(
        "studies",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("copies", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("source_ae_titles", sa.JSON(), nullable=False),
        sa.Column("first_arrival_at", MOMENT, nullable=False),
        sa.Column("last_arrival_at", MOMENT, nullable=False),
        sa.Column("closed_at", MOMENT, nullable=True),
        sa.Column("deleted_at", MOMENT, nullable=True),
        sa.CheckConstraint("state IN ('open', 'closed')", name=op.f("ck_studies_state")),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
        sa.UniqueConstraint("study_uid", name="uq_studies_study_uid"),
    )
    op.create_index("ix_studies_last_arrival_at", "studies", ["last_arrival_at"])
    op.create_index("ix_studies_state_last_arrival_at", "studies", ["state", "last_arrival_at"])


def _instances() -> None:
    op.create_table(
        "instances",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text(), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("content_digest", sa.Text(), nullable=False),
        sa.Column("geometry_digest", sa.Text(), nullable=False),
        sa.Column("pixel_digest", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("source_ae_title", sa.Text(), nullable=False),
        sa.Column("arrived_at", MOMENT, nullable=False),
        sa.Column("conflicting", sa.Boolean(), nullable=False),
        sa.Column("deleted_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name="fk_instances_study_uid_studies"),
        sa.PrimaryKeyConstraint("id", name="pk_instances"),
    )
    op.create_index("ix_instances_sop_instance_uid", "instances", ["sop_instance_uid"])
    op.create_index("ix_instances_study_uid_series_uid", "instances", ["study_uid", "series_uid"])


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.Column("results_token", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("run_after", MOMENT, nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("claimed_at", MOMENT, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.CheckConstraint("(state = 'in_progress') = (token IS NOT NULL)", name=op.f("ck_jobs_token")),
        sa.CheckConstraint(STATES, name=op.f("ck_jobs_state")),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_jobs_attempt")),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name="fk_jobs_study_uid_studies"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("key", name="uq_jobs_key"),
    )
    op.create_index("ix_jobs_state_lease_until", "jobs", ["state", "lease_until"])
    op.create_index("ix_jobs_state_priority_run_after", "jobs", ["state", "priority", "run_after"])
    op.create_index("ix_jobs_study_uid", "jobs", ["study_uid"])


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("job_id", ROW_ID, nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("budget_since", MOMENT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("run_after", MOMENT, nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("claimed_at", MOMENT, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.CheckConstraint("(state = 'in_progress') = (token IS NOT NULL)", name=op.f("ck_deliveries_token")),
        sa.CheckConstraint("phase IN ('store', 'commit')", name=op.f("ck_deliveries_phase")),
        sa.CheckConstraint(STATES, name=op.f("ck_deliveries_state")),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_deliveries_attempt")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_deliveries_job_id_jobs"),
        sa.ForeignKeyConstraint(["study_uid"], ["studies.study_uid"], name="fk_deliveries_study_uid_studies"),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("job_id", "peer", name="uq_deliveries_job_id_peer"),
    )
    op.create_index("ix_deliveries_peer_claimed_at", "deliveries", ["peer", "claimed_at"])
    op.create_index("ix_deliveries_state_lease_until", "deliveries", ["state", "lease_until"])
    op.create_index(
        "ix_deliveries_state_peer_priority_run_after", "deliveries", ["state", "peer", "priority", "run_after"])
    op.create_index("ix_deliveries_study_uid", "deliveries", ["study_uid"])


def _job_models() -> None:
    op.create_table(
        "job_models",
        sa.Column("job_id", ROW_ID, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_models_job_id_jobs"),
        sa.PrimaryKeyConstraint("job_id", "ordinal", name="pk_job_models"),
    )


def _results() -> None:
    op.create_table(
        "results",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("job_id", ROW_ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("result_group", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_results_job_id_jobs"),
        sa.PrimaryKeyConstraint("id", name="pk_results"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_results_sop_instance_uid"),
    )
    op.create_index("ix_results_job_id", "results", ["job_id"])


def _commitments() -> None:
    op.create_table(
        "commitments",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("transaction_uid", sa.Text(), nullable=False),
        sa.Column("delivery_id", ROW_ID, nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_commitments_delivery_id_deliveries"),
        sa.PrimaryKeyConstraint("id", name="pk_commitments"),
        sa.UniqueConstraint("transaction_uid", name="uq_commitments_transaction_uid"),
    )
    op.create_index("ix_commitments_delivery_id", "commitments", ["delivery_id"])


def _delivery_items() -> None:
    op.create_table(
        "delivery_items",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("delivery_id", ROW_ID, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("sent_result_id", ROW_ID, nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("sent_at", MOMENT, nullable=True),
        sa.Column("committed_at", MOMENT, nullable=True),
        sa.Column("failure_reason", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_delivery_items_delivery_id_deliveries"),
        sa.ForeignKeyConstraint(["sent_result_id"], ["results.id"], name="fk_delivery_items_sent_result_id_results"),
        sa.PrimaryKeyConstraint("id", name="pk_delivery_items"),
        sa.UniqueConstraint("delivery_id", "ordinal", name="uq_delivery_items_delivery_id_ordinal"),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=True),
        sa.Column("job_id", ROW_ID, nullable=True),
        sa.Column("delivery_id", ROW_ID, nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_events_delivery_id_deliveries"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_events_job_id_jobs"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_delivery_id", "events", ["delivery_id"])
    op.create_index("ix_events_job_id", "events", ["job_id"])
    op.create_index("ix_events_kind_at", "events", ["kind", "at"])
    op.create_index("ix_events_study_uid_at", "events", ["study_uid", "at"])


def _delivery_alternatives() -> None:
    op.create_table(
        "delivery_alternatives",
        sa.Column("item_id", ROW_ID, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("result_id", ROW_ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["delivery_items.id"], name="fk_delivery_alternatives_item_id_delivery_items"),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"], name="fk_delivery_alternatives_result_id_results"),
        sa.PrimaryKeyConstraint("item_id", "ordinal", name="pk_delivery_alternatives"),
    )
