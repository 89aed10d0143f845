"""Column types: what goes in comes out the same, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import postgresql, sqlite

from dicomnode.ledger.chunks import PARAMETERS_AT_MOST, chunks
from dicomnode.ledger.columns import UtcDateTime, Words

BEIJING = timezone(timedelta(hours=8))
DIALECTS = [sqlite.dialect(), postgresql.dialect()]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_moment_of_any_zone_comes_back_as_the_same_moment_in_utc(dialect):
    moment = datetime(2026, 11, 22, 20, 30, 1, 5, tzinfo=BEIJING)
    back = UtcDateTime().process_result_value(UtcDateTime().process_bind_param(moment, dialect), dialect)
    assert back == moment
    assert back.tzinfo is UTC


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_moment_without_a_zone_is_refused(dialect):
    with pytest.raises(ValueError, match="a time without a zone: 2026-11-22T00:00:00; allowed are aware times"):
        UtcDateTime().process_bind_param(datetime(2026, 11, 22), dialect)  # noqa: DTZ001


@pytest.mark.parametrize("column", [UtcDateTime(), Words()])
def test_nothing_stays_nothing(column):
    for dialect in DIALECTS:
        assert column.process_bind_param(None, dialect) is None
    assert UtcDateTime().process_result_value(None, DIALECTS[0]) is None


def test_text_that_a_database_cannot_hold_keeps_the_rest():
    assert Words().process_bind_param("a\x00b\udc80c 名", DIALECTS[1]) == "a?b?c 名"


def test_long_lists_are_cut_without_loss():
    uids = [str(n) for n in range(2 * PARAMETERS_AT_MOST + 1)]
    parts = list(chunks(uids))
    assert [len(part) for part in parts] == [PARAMETERS_AT_MOST, PARAMETERS_AT_MOST, 1]
    assert [uid for part in parts for uid in part] == uids
    assert list(chunks([])) == []
