"""The digest of a bundle covers every byte and every name."""

from __future__ import annotations

import hashlib
import os

import pytest

from dicomnode.infer.digest import bundle_digest, copy_bundle


@pytest.fixture
def a_folder(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_bytes(b"{}")
    (tmp_path / "LICENSE").write_bytes(b"free")
    return tmp_path


def test_the_digest_is_over_the_sorted_paths_and_hashes_of_every_file(a_folder):
    lines = [("LICENSE", b"free"), ("configs/inference.json", b"{}")]
    text = "".join(f"{path}\0{hashlib.sha256(data).hexdigest()}\n" for path, data in lines)
    assert bundle_digest(a_folder) == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@pytest.mark.parametrize("change", ["a byte", "a name", "one file more"])
def test_any_change_of_a_bundle_changes_its_digest(a_folder, change):
    before = bundle_digest(a_folder)
    if change == "a byte":
        (a_folder / "LICENSE").write_bytes(b"Free")
    elif change == "a name":
        (a_folder / "LICENSE").rename(a_folder / "licence")
    else:
        (a_folder / "configs" / "new.json").write_bytes(b"")
    assert bundle_digest(a_folder) != before


def test_caches_of_python_do_not_count(a_folder):
    before = bundle_digest(a_folder)
    (a_folder / "__pycache__").mkdir()
    (a_folder / "__pycache__" / "x.pyc").write_bytes(b"1")
    assert bundle_digest(a_folder) == before


def test_the_copy_holds_the_very_bytes_that_were_hashed_whatever_happens_to_the_folder(a_folder):
    copy = copy_bundle(a_folder, lambda path: path.endswith(".json"))
    (a_folder / "configs" / "inference.json").write_bytes(b"changed meanwhile")
    try:
        assert list(copy.memory) == ["configs/inference.json"]
        assert os.pread(copy.memory["configs/inference.json"], 100, 0) == b"{}"
        assert copy.digest != bundle_digest(a_folder)
    finally:
        copy.close()


def test_a_name_that_is_no_utf_8_is_hashed_as_its_bytes(a_folder):
    before = bundle_digest(a_folder)
    (a_folder / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"x")
    assert bundle_digest(a_folder) != before
