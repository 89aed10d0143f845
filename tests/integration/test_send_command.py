"""``dicomnode send``: files as people have them, to a peer that holds each against its command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pydicom import dcmread

from dicomnode.cli import cli
from tests.builders import ct_series, write_series
from tests.receiving import PEERS, Receiver, receiver


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Receiver]:
    with receiver(tmp_path / "spool", peers=PEERS) as running:
        yield running


def send(node: Receiver, folder: Path, path: Path) -> Result:
    config = folder / "node.toml"
    config.write_text('[node]\nae_title = "SCANNER"\n[peers.node]\nae_title = "DICOMNODE"\nhost = "127.0.0.1"\n'
                      f"port = {node.port}\n", encoding="utf-8")
    return CliRunner().invoke(cli, ["--config", str(config), "send", str(path), "--to", "node"])


def edited(path: Path) -> str:
    """Give a file another SOP Instance UID in its data set, and leave the old one in its File Meta."""
    old = str(dcmread(path).SOPInstanceUID)
    new = old[:-1] + ("1" if old[-1] != "1" else "2")
    file_meta, data_set_uid, rest = path.read_bytes().rpartition(old.encode())
    assert data_set_uid
    path.write_bytes(file_meta + new.encode() + rest)
    return new


def test_an_edited_file_is_stored_under_its_data_sets_uid_and_what_is_no_dicom_is_named(node: Receiver, tmp_path: Path):
    paths = list(write_series(tmp_path / "ct", ct_series(np.zeros((3, 8, 8), np.int16))))
    new_uid = edited(paths[1])
    assert dcmread(paths[1]).file_meta.MediaStorageSOPInstanceUID != new_uid
    (tmp_path / "ct" / "note.txt").write_text("hello", encoding="utf-8")
    result = send(node, tmp_path, tmp_path / "ct")
    assert result.exit_code == 0, result.output
    assert "sent 3 of 4 files to node, skipped 1\n" in result.stdout
    assert "skipped" in result.stderr
    assert "note.txt: no DICOM file" in result.stderr
    assert new_uid in {dcmread(arrival.path).SOPInstanceUID for arrival in node.spool.arrivals()}


def test_a_folder_without_any_dicom_file_is_bad_data(node: Receiver, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "note.txt").write_text("hello", encoding="utf-8")
    result = send(node, tmp_path, tmp_path / "empty")
    assert "holds no DICOM instance; nothing was sent to node" in str(result.exception)
    assert getattr(result.exception, "exit_code", None) == 65
