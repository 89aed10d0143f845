"""The standard's tables: what each answer of a peer means."""

from __future__ import annotations

import pytest

from dicomnode.deliver.status import (
    GENERAL_FAILURES,
    Outcome,
    abort_error,
    rejection_error,
    rule_of,
    status_error,
)
from dicomnode.errors import (
    AssociationRejectedPermanent,
    AssociationRejectedTransient,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    Verdict,
)


@pytest.mark.parametrize("status", [0x0000, 0x0001, 0x0107, 0x0111, 0x0116, 0xB000, 0xB006, 0xB007, 0xB123, 0xBFFF])
def test_success_and_warnings_mean_stored(status):
    assert rule_of(status).outcome is Outcome.STORED
    assert status_error("pacs", "C-STORE", status) is None


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0xA7FF, 0x0213])
def test_out_of_resources_is_back_pressure_that_spends_no_budget(status):
    error = status_error("pacs", "C-STORE", status)
    assert isinstance(error, PeerBusy)
    assert error.verdict is Verdict.RETRY
    assert not error.spends_budget
    assert error.status == status


@pytest.mark.parametrize("status", [0x0122, 0xA900, 0xA9FF, 0xC000, 0xC123, 0xCFFF])
def test_what_a_peer_cannot_take_in_this_form_it_may_take_in_another(status):
    assert rule_of(status).outcome is Outcome.NOT_THIS_FORM
    assert isinstance(status_error("pacs", "C-STORE", status), PeerRefused)


@pytest.mark.parametrize("status", [*GENERAL_FAILURES, 0xFE00, 0xFF00, 0x9999, 0xD000])
def test_every_other_status_fails_and_says_its_number(status):
    error = status_error("pacs", "C-STORE of 1.2", status)
    assert isinstance(error, PeerRefused)
    assert error.verdict is Verdict.FAIL
    assert f"pacs: answered 0x{status:04X} to C-STORE of 1.2" in str(error)


def test_every_rule_names_its_clause():
    for status in range(0x10000):
        assert rule_of(status).clause.startswith(("PS3.4 ", "PS3.7 "))


@pytest.mark.parametrize(("result", "source", "reason", "kind", "meaning"), [
    (1, 1, 1, AssociationRejectedPermanent, "no reason given"),
    (1, 1, 3, AssociationRejectedPermanent, "calling AE title not recognized"),
    (1, 1, 7, AssociationRejectedPermanent, "called AE title not recognized"),
    (1, 2, 2, AssociationRejectedPermanent, "protocol version not supported"),
    (2, 3, 1, AssociationRejectedTransient, "temporary congestion"),
    (2, 3, 2, AssociationRejectedTransient, "local limit exceeded"),
    (2, 1, 1, AssociationRejectedTransient, "no reason given"),
    (1, 3, 2, AssociationRejectedTransient, "local limit exceeded"),
    (2, 1, 9, AssociationRejectedTransient, "reason 9"),
])
def test_a_rejection_is_permanent_or_transient_by_table_9_21(result, source, reason, kind, meaning):
    error = rejection_error("pacs", result=result, source=source, reason=reason)
    assert type(error) is kind
    assert meaning in str(error)


def test_a_local_limit_called_permanent_is_tried_again_because_limits_pass():
    assert rejection_error("pacs", result=1, source=3, reason=2).verdict is Verdict.RETRY


@pytest.mark.parametrize(("source", "reason", "words"), [
    (0, 0, "service user; PS3.8"), (0, 6, "service user; PS3.8"), (2, 0, "service provider, reason not specified"),
    (2, 2, "service provider, unexpected PDU"), (2, 9, "service provider, reason 9"),
])
def test_an_abort_is_tried_again_and_says_who_aborted(source, reason, words):
    error = abort_error("pacs", source=source, reason=reason)
    assert isinstance(error, PeerUnreachable)
    assert error.verdict is Verdict.RETRY
    assert words in str(error)
