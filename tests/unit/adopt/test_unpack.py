from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import pytest

from dicomnode.adopt.unpack import copy_folder, unpack
from dicomnode.errors import UnusableBundle

CONFIG = {"b/configs/inference.json": b"{}", "b/models/model.pt": b"weights"}


def a_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("top", ["b/", ""], ids=["in a folder", "at the top"])
def test_a_bundle_is_found_in_a_zip_wherever_it_lies(tmp_path, top):
    files = {name.replace("b/", top): data for name, data in CONFIG.items()}
    root = unpack(a_zip(tmp_path / "b.zip", files), tmp_path / "out")
    assert files_below(root) == {"configs/inference.json", "models/model.pt"}


def test_what_file_managers_leave_in_zips_is_no_part_of_a_bundle(tmp_path):
    left = {"__MACOSX/b/._x": b"", "b/configs/.DS_Store": b"", "b/scripts/__pycache__/a.pyc": b""}
    root = unpack(a_zip(tmp_path / "b.zip", CONFIG | left), tmp_path / "out")
    assert files_below(root) == {"configs/inference.json", "models/model.pt"}


@pytest.mark.parametrize(("name", "says"), [
    ("../evil", "outside"), ("b/../../evil", "outside"), ("/etc/evil", "outside"), ("b\\..\\evil", "no plain path"),
    ("C:/evil", "no plain path"), ("b/ev\nil", "no plain path"),
])
def test_an_entry_that_would_leave_the_folder_is_refused_before_anything_is_written(tmp_path, name, says):
    with pytest.raises(UnusableBundle, match=says):
        unpack(a_zip(tmp_path / "b.zip", CONFIG | {name: b"x"}), tmp_path / "in" / "out")
    assert files_below(tmp_path) == {"b.zip"}


def test_a_link_in_a_zip_is_refused(tmp_path):
    path = a_zip(tmp_path / "b.zip", CONFIG)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("b/models/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UnusableBundle, match="link"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_larger_than_any_bundle_is_refused_before_it_is_unpacked(tmp_path):
    bomb = a_zip(tmp_path / "b.zip", CONFIG | {"b/models/zeros": bytes(10_000_000)})
    assert bomb.stat().st_size < 20_000
    with pytest.raises(UnusableBundle, match="no bundle is that large"):
        unpack(bomb, tmp_path / "out", most_bytes=5_000_000)
    assert not (tmp_path / "out").exists()


def test_an_entry_that_stands_twice_is_refused(tmp_path):
    path = a_zip(tmp_path / "b.zip", CONFIG)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("b/models/model.pt", b"other")
    with pytest.raises(UnusableBundle, match="twice"):
        unpack(path, tmp_path / "out")


def test_a_path_that_is_file_and_folder_is_refused(tmp_path):
    with pytest.raises(UnusableBundle, match="file and a folder"):
        unpack(a_zip(tmp_path / "b.zip", {**CONFIG, "b/models": b"x"}), tmp_path / "out")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 but no more", b"<html>Sign in</html>"])
def test_what_is_no_zip_is_refused(tmp_path, data):
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(UnusableBundle, match="not a readable zip"):
        unpack(tmp_path / "b.zip", tmp_path / "out")


def test_a_damaged_entry_is_refused(tmp_path):
    path = a_zip(tmp_path / "b.zip", {**CONFIG, "b/models/big.pt": os.urandom(5000)})
    data = bytearray(path.read_bytes())
    data[2500] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UnusableBundle, match="not a readable zip"):
        unpack(path, tmp_path / "out")


def test_a_zip_without_a_bundle_says_what_it_holds(tmp_path):
    with pytest.raises(UnusableBundle, match=r"holds readme\.txt"):
        unpack(a_zip(tmp_path / "b.zip", {"readme.txt": b""}), tmp_path / "out")


def test_a_folder_is_copied_without_what_is_no_part_of_it(tmp_path):
    for name, data in {**CONFIG, "b/.git/HEAD": b"", "b/scripts/__pycache__/a.pyc": b""}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    root = copy_folder(tmp_path / "b", tmp_path / "out")
    assert files_below(root) == {"configs/inference.json", "models/model.pt"}


def test_a_link_in_a_folder_is_refused(tmp_path):
    (tmp_path / "b" / "configs").mkdir(parents=True)
    (tmp_path / "b" / "configs" / "inference.json").symlink_to("/etc/passwd")
    with pytest.raises(UnusableBundle, match="a link or a device"):
        copy_folder(tmp_path / "b", tmp_path / "out")
