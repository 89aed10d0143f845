"""Migrations over both databases: what they build is what the code knows, and the node id is written once."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Inspector

from dicomnode.errors import ConfigError
from dicomnode.ledger import schema, tables
from dicomnode.ledger.engine import Ledger
from dicomnode.ledger.tables import metadata
from dicomnode.shipped import shipped
from tests.ledger_rows import NOW, STUDY, a_snapshot, after, claim_job


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'deep' / 'er' / 'ledger.sqlite'}"
    return request.getfixturevalue("postgres_server").create(f"empty_{uuid.uuid4().hex}")


@pytest.fixture
def fresh(empty_url: str) -> Iterator[Ledger]:
    ledger = Ledger(empty_url)
    yield ledger
    ledger.dispose()


def shape(found: Inspector) -> dict[str, Any]:
    """Everything that a schema says, names included, in a form that compares."""
    def plain(rows: list[Any]) -> list[str]:
        return sorted(str(sorted((key, str(value)) for key, value in row.items())) for row in rows)

    return {
        table: {
            "columns": plain([{**column, "default": None} for column in found.get_columns(table)]),
            "primary_key": plain([found.get_pk_constraint(table)]),
            "foreign_keys": plain(found.get_foreign_keys(table)),
            "unique": plain(found.get_unique_constraints(table)),
            "indexes": plain([
                {**one, "dialect_options": {key: str(value) for key, value in one.get("dialect_options", {}).items()}}
                for one in found.get_indexes(table)]),
            "checks": plain(found.get_check_constraints(table)),
        }
        for table in sorted(set(found.get_table_names()) - {"alembic_version"})
    }


def test_an_upgrade_from_nothing_gives_the_newest_revision(fresh):
    assert fresh.revision() is None
    assert fresh.upgrade() == fresh.head() == fresh.revision()


def test_the_migrated_schema_is_the_one_that_the_code_knows(fresh):
    fresh.upgrade()
    with fresh.read() as c:
        context = MigrationContext.configure(c, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_the_migrated_schema_equals_one_made_from_the_metadata_to_the_last_name(fresh, request, tmp_path):
    fresh.upgrade()
    if fresh.dialect == "sqlite":
        made_url = f"sqlite:///{tmp_path / 'made.sqlite'}"
    else:
        url = request.getfixturevalue("postgres_server").create(f"made_{uuid.uuid4().hex}")
        made_url = url.replace("postgresql:", "postgresql+psycopg:")
    made = create_engine(made_url)
    metadata.create_all(made)
    with fresh.read() as c:
        migrated = shape(inspect(c))
    assert migrated == shape(inspect(made))
    assert "jobs" in migrated
    made.dispose()


def test_the_node_id_is_random_and_written_once(fresh, tmp_path):
    fresh.upgrade()
    first = fresh.node_id()
    fresh.upgrade()
    assert fresh.node_id() == first
    other = Ledger(f"sqlite:///{tmp_path / 'other.sqlite'}")
    other.upgrade()
    assert other.node_id() != first
    other.dispose()


def test_work_of_before_the_turns_keeps_its_order_and_can_be_claimed(fresh, monkeypatch):
    upgrade = schema.command.upgrade
    with monkeypatch.context() as before:
        before.setattr(schema.command, "upgrade", lambda settings, _head: upgrade(settings, "0002"))
        fresh.upgrade()
    assert fresh.revision() == "0002"
    with fresh.write() as c:
        c.execute(tables.studies.insert().values(
            study_uid=STUDY, state="closed", revision=1, instances=1, copies=1, size_bytes=1, source_ae_titles=[],
            first_arrival_at=NOW, last_arrival_at=NOW))
        for number, seconds in ((1, 5), (2, 1), (3, 3)):
            c.execute(tables.jobs.insert().values(
                id=number, key=str(number), study_uid=STUDY, kind="analysis", route="chest", revision=0,
                snapshot=a_snapshot().to_json(), state="scheduled", attempt=0, priority=100, run_after=after(seconds),
                owner="", reason="", created_at=NOW, changed_at=NOW))
    fresh.upgrade()
    assert [claim_job(fresh, now=after(9)).job_id for _ in range(3)] == [2, 3, 1]


def test_a_database_newer_than_the_code_is_refused_and_left_alone(fresh):
    fresh.upgrade()
    with fresh.write() as c:
        c.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="revision 9999, this version knows up to"):
        fresh.upgrade()
    assert fresh.revision() == "9999"


def test_an_upgrade_that_fails_leaves_nothing_behind(fresh, empty_url, request):
    if fresh.dialect == "sqlite":
        Path(empty_url.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    in_the_way = create_engine(empty_url.replace("postgresql:", "postgresql+psycopg:"))
    with in_the_way.begin() as c:
        c.execute(text("CREATE TABLE events (id INTEGER)"))
    with pytest.raises(Exception, match="already exists"):
        fresh.upgrade()
    assert inspect(in_the_way).get_table_names() in (["events"], ["alembic_version", "events"])
    in_the_way.dispose()


def test_revisions_form_one_line_and_their_files_are_named_by_them():
    files = sorted((shipped("migrations") / "versions").glob("*.py"))
    for number, path in enumerate(files, start=1):
        assert path.name.startswith(f"{number:04d}_")
        below = repr(f"{number - 1:04d}") if number > 1 else "None"
        source = path.read_text(encoding="utf-8").replace('"', "'")
        assert re.search(rf"^revision = '{number:04d}'$", source, re.MULTILINE)
        assert re.search(rf"^down_revision = {below}$", source, re.MULTILINE)


def test_a_folder_without_revisions_is_an_incomplete_installation(monkeypatch, tmp_path):
    monkeypatch.setattr("dicomnode.ledger.schema.shipped", lambda _kind: tmp_path)
    (tmp_path / "versions").mkdir()
    with pytest.raises(ConfigError, match="no revision in it"):
        Ledger(f"sqlite:///{tmp_path / 'x.sqlite'}").head()


def test_alembic_by_itself_says_which_command_to_use():
    from alembic import command
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(shipped("migrations")))
    with pytest.raises(SystemExit, match="dicomnode db upgrade"):
        command.upgrade(settings, "head")
