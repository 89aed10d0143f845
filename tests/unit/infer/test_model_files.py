"""The tests' own model files are read by the node as they were meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dicomnode.config import model_from_text
from tests.bundles import model_file
from tests.model_files import write_model_file


def test_a_model_file_that_a_test_writes_is_read_back_equal(tmp_path: Path):
    (tmp_path / "bundle").mkdir()
    model = model_file(tmp_path / "bundle", labels=3)
    path = write_model_file(model, tmp_path / "models")
    read = model_from_text(path.read_text(encoding="utf-8"), source=path.name)
    assert replace(read, file_digest="") == model
