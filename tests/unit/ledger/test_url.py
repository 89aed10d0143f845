"""The SQLite URL is the path as it is written."""

from __future__ import annotations

import pytest

from dicomnode import config
from dicomnode.ledger.engine import Ledger


@pytest.mark.parametrize("name", ["plain", "what?dir", "a#b", "50%20off", "a b", "?mode=memory", "name@host:1"])
def test_a_data_dir_of_any_name_holds_its_database(tmp_path, name):
    path = tmp_path / "node.toml"
    path.write_text(f'[node]\ndata_dir = "{name}"\n', encoding="utf-8")
    ledger = Ledger(config.load(path, environ={}).database_url)
    try:
        assert ledger.upgrade() == ledger.head() == ledger.revision()
    finally:
        ledger.dispose()
    assert (tmp_path / name / "dicomnode.sqlite").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "node.toml"])


def test_a_database_url_in_the_file_may_have_a_question_mark_too(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text('[node]\ndatabase_url = "sqlite:///what?dir/ledger.sqlite"\n', encoding="utf-8")
    ledger = Ledger(config.load(path, environ={}).database_url)
    try:
        ledger.upgrade()
    finally:
        ledger.dispose()
    assert (tmp_path / "what?dir" / "ledger.sqlite").is_file()
