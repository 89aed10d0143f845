from __future__ import annotations

import pytest

from dicomnode.errors import CannotUnderstand
from dicomnode.receive.commit_request import commit_request
from dicomnode.receive.event_report import commitment_event
from dicomnode.receive.messages import UNREADABLE, read_message
from tests.hostile import nested
from tests.upper_layer import EXPLICIT


def test_a_message_nested_ten_thousand_deep_is_refused_before_it_is_parsed():
    with pytest.raises(CannotUnderstand, match="nested deeper than 64"):
        read_message(nested(10_000, undefined=True), transfer_syntax_uid=EXPLICIT)


@pytest.mark.parametrize("data", [nested(10_000, undefined=True), nested(2_000, undefined=False), b"\xff" * 999, b""])
def test_a_hostile_message_is_refused_with_a_status_and_never_ends_the_association(data):
    for kept in (
        lambda: commitment_event(data, transfer_syntax_uid=EXPLICIT, event_type=1, calling="PACS"),
        lambda: commit_request(data, transfer_syntax_uid=EXPLICIT, peer="pacs"),
    ):
        with pytest.raises(Exception, match="cannot be read") as raised:
            kept()
        assert hasattr(raised.value, "status")
        assert not isinstance(raised.value, (RecursionError, MemoryError))
    assert RecursionError in UNREADABLE
