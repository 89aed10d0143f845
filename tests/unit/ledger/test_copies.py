"""What a newcomer is to the copies that are kept: the table of cases, without a database."""

from __future__ import annotations

import pytest

from dicomnode.ledger.copies import Copy, classify
from tests.ledger_rows import JPEG_LOSSLESS, an_instance

SOUND = Copy(an_instance(1), conflicting=False)
COMPRESSED = Copy(an_instance(1, content="jpeg", syntax=JPEG_LOSSLESS), conflicting=False)
CONFLICTING = Copy(an_instance(1, content="other", geometry="other"), conflicting=True)


@pytest.mark.parametrize(("kept", "newcomer", "what"), [
    ([], an_instance(1), "new"),
    ([SOUND], an_instance(1), "identical"),
    ([SOUND], an_instance(1, content="x"), "demographics"),
    ([SOUND], an_instance(1, content="x", pixels="x"), "conflict"),
    ([SOUND], an_instance(1, content="x", geometry="x"), "conflict"),
    ([SOUND], an_instance(1, content="x", pixels="x", syntax=JPEG_LOSSLESS), "demographics"),
    ([SOUND], an_instance(1, content="x", geometry="x", syntax=JPEG_LOSSLESS), "conflict"),
    ([SOUND, COMPRESSED], an_instance(1, content="x", pixels="x", syntax=JPEG_LOSSLESS), "conflict"),
    ([SOUND, COMPRESSED], an_instance(1, content="x", syntax=JPEG_LOSSLESS), "demographics"),
    ([SOUND, CONFLICTING], an_instance(1, content="x"), "demographics"),
    ([SOUND, CONFLICTING], an_instance(1, content="x", geometry="other"), "conflict"),
    ([SOUND, CONFLICTING], an_instance(1, content="other", geometry="other"), "identical"),
])
def test_a_newcomer_is_told_by_what_differs(kept, newcomer, what):
    assert classify(newcomer, kept) == what
