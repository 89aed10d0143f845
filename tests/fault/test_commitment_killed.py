"""SIGKILL of the whole node around a request for storage commitment: once it is answered, the scanner hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.domain.dicom import CT_IMAGE_STORAGE
from tests.live import LiveNode, until
from tests.scanner import Report, Scanner, asked, reference
from tests.stepped import a_study, peer_toml, send

pytestmark = pytest.mark.timeout(240)
TRANSACTION = "2.25.2002"


@pytest.fixture
def scanner() -> Iterator[Scanner]:
    with Scanner() as listening:
        yield listening


@pytest.fixture
def node(tmp_path: Path, scanner: Scanner) -> Iterator[LiveNode]:
    """Two receiver processes on one port; a sender that tries again soon."""
    live = LiveNode(tmp_path / "node", peers=peer_toml("ct", "SCANNER", scanner.port), routes="",
                    receive="processes = 2\nstorage_commitment = true", extra="[delivery]\nbackoff_s = 0.5\n")
    yield live.start()
    live.stop()


def test_a_request_that_was_answered_is_reported_whatever_was_killed_in_between(node, scanner, tmp_path):
    built, paths = a_study(tmp_path / "ct", 4)
    uids = [str(one.SOPInstanceUID) for one in built]
    scanner.answers = [0x0110]
    send(node, paths)
    assert asked(node.port, TRANSACTION, [reference(CT_IMAGE_STORAGE, uid) for uid in uids]) == 0x0000
    node.kill_everything()
    node.start()
    assert scanner.heard() == Report(TRANSACTION, 1, uids, {}), "refused by the scanner this time"
    node.kill_everything()
    node.start()
    assert scanner.heard() == Report(TRANSACTION, 1, uids, {})
    until(lambda: not list((node.spool / "events").iterdir()), "the request is done")
    (study,) = node.rows("studies")
    assert study["instances"] == 4
    story = [row["kind"] for row in node.rows("study", study["study_uid"])]
    assert story.count("commitment_given") == 1
    assert "commitment_reported" in story
