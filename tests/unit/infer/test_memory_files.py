"""A bundle's files and modules from memory: read as if they lay below /bundle, gone afterwards."""

# A bundle's code calls what it likes, so these tests call the old functions too.
# ruff: noqa: PTH103, PTH112, PTH113, PTH116, PTH123, PTH202, PTH207, PTH208

from __future__ import annotations

import builtins
import glob
import importlib
import io
import os
import sys
from pathlib import Path

import pytest

from dicomnode.infer.memory_files import MemoryFiles

FILES = {
    "configs/words.json": '{"said": "grüß"}'.encode(),
    "models/model.pt": bytes(range(256)),
    "bundle_scripts_a/__init__.py": b"from .inner import VALUE\n",
    "bundle_scripts_a/inner.py": b"import bundle_scripts_b.deep.leaf as leaf\nVALUE = leaf.VALUE + 1\n",
    "bundle_scripts_b/deep/leaf.py": b"VALUE = 41\nNAME = __file__\n",
    "bundle_single.py": b"VALUE = 7\n",
}


@pytest.fixture
def bundle():
    with MemoryFiles(FILES) as files:
        yield files


def test_a_file_is_read_as_text_and_as_bytes(bundle):
    with open("/bundle/configs/words.json", encoding="utf-8") as file:
        assert file.read() == '{"said": "grüß"}'
    assert Path("/bundle/models/../models/model.pt").read_bytes() == bytes(range(256))
    with io.open("/bundle/models/model.pt", "rb") as file:  # noqa: UP020 - what libraries call
        file.seek(250)
        assert file.read() == bytes(range(250, 256))


def test_a_path_from_the_bundles_root_is_found_too(bundle):
    with open("configs/words.json", encoding="utf-8") as file:
        assert "said" in file.read()


def test_folders_are_listed_and_looked_up(bundle):
    assert os.listdir("/bundle/configs") == ["words.json"]
    assert glob.glob("/bundle/*/*.json") == ["/bundle/configs/words.json"]
    assert max(name for _, _, names in os.walk("/bundle") for name in names) == "words.json"
    assert (os.path.isfile("/bundle/models/model.pt"), os.path.isdir("/bundle/models")) == (True, True)
    assert os.path.getsize("/bundle/models/model.pt") == 256
    assert not Path("/bundle/models/none.pt").exists()
    assert os.access("/bundle/models/model.pt", os.R_OK)
    assert not os.access("/bundle/models/model.pt", os.W_OK)


@pytest.mark.parametrize("mode", ["w", "a", "r+", "xb"])
def test_nothing_can_be_written(bundle, mode):
    with pytest.raises(PermissionError, match="nothing can be written"):
        open("/bundle/configs/words.json", mode)  # noqa: SIM115 - it does not open


def test_a_folder_for_results_is_made_nowhere_and_is_no_error(bundle):
    os.makedirs("/bundle/eval/deep", exist_ok=True)
    Path("/bundle/eval").mkdir()
    assert not Path("/bundle/eval").exists()


@pytest.mark.parametrize("path", ["/bundle/none", "/bundle/configs/none.json"])
def test_what_is_not_there_is_not_found(bundle, path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        open(path)  # noqa: SIM115 - it does not open
    with pytest.raises(FileNotFoundError):
        os.stat(path)
    with pytest.raises(FileNotFoundError):
        os.listdir(path)


def test_other_files_are_the_machines_own(bundle, tmp_path):
    (tmp_path / "a").write_text("x", encoding="ascii")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").stat().st_size == 1
    (tmp_path / "b").mkdir()
    assert sorted(entry.name for entry in os.scandir(tmp_path)) == ["a", "b"]


def test_modules_packages_and_folders_without_init_are_imported(bundle):
    assert importlib.import_module("bundle_scripts_a").VALUE == 42
    assert importlib.import_module("bundle_single").VALUE == 7
    leaf = importlib.import_module("bundle_scripts_b.deep.leaf")
    assert leaf.NAME == "/bundle/bundle_scripts_b/deep/leaf.py"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("bundle_scripts_b.none")


def test_the_source_of_a_module_can_be_asked_for(bundle):
    import inspect

    assert "41" in inspect.getsource(importlib.import_module("bundle_scripts_b.deep.leaf"))


def test_afterwards_all_is_as_before(tmp_path):
    before = (builtins.open, io.open, os.stat, os.listdir, os.scandir, os.mkdir, list(sys.meta_path))
    with MemoryFiles(FILES):
        importlib.import_module("bundle_single")
    assert (builtins.open, io.open, os.stat, os.listdir, os.scandir, os.mkdir, list(sys.meta_path)) == before
    assert "bundle_single" not in sys.modules
    assert not Path("/bundle/models/model.pt").exists()


def test_torch_and_numpy_load_what_lies_in_the_bundle(tmp_path):
    import numpy as np
    import torch

    torch.save({"arch_code": [1, 2]}, tmp_path / "code.pt")
    np.save(tmp_path / "priors.npy", np.arange(3))
    files = {f"models/{path.name}": path.read_bytes() for path in tmp_path.iterdir()}
    with MemoryFiles(files):
        assert torch.load("/bundle/models/code.pt", weights_only=True) == {"arch_code": [1, 2]}
        assert np.load("/bundle/models/priors.npy").tolist() == [0, 1, 2]
