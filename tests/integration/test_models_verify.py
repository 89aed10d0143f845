"""``models verify``: bytes, then the sandbox, then the phantom; the first failure is the exit code."""

from __future__ import annotations

import re
import shutil

import pytest
from click.testing import CliRunner

from dicomnode.cli import cli
from dicomnode.errors import EXIT_CONFIG
from tests.bundles import model_file, spleen_form
from tests.live import ROOT
from tests.model_files import write_model_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def node(tmp_path):
    """A configuration over a copy of the shipped chest model and a small bundle of random weights."""
    shutil.copytree(ROOT / "models" / "phantom_chest_ct_segmentation",
                    tmp_path / "bundles" / "phantom_chest_ct_segmentation")
    (tmp_path / "models").mkdir()
    shutil.copy(ROOT / "config" / "models" / "demo_chest.toml", tmp_path / "models")
    write_model_file(model_file(spleen_form(tmp_path / "bundles" / "small")), tmp_path / "models")
    (tmp_path / "node.toml").write_text('[node]\nmodels_dir = "bundles"\n[worker]\nthreads = 1\n', encoding="utf-8")
    return tmp_path


def verified(node, *words: str):
    return CliRunner().invoke(cli, ["--config", str(node / "node.toml"), "models", "verify", *words])


def test_bytes_sandbox_and_phantom_are_tried_as_far_as_asked(node):
    plain = verified(node)
    assert (plain.exit_code, plain.output.split()) == (0, ["ok", "demo_chest", "ok", "small"])
    tried = verified(node, "--self-test")
    assert tried.exit_code == 0, tried.output
    assert re.search(r"ok +demo_chest +loaded in [\d.]+ s +Lung 0\.9\d\d", tried.output), tried.output
    assert re.search(r"ok +small +loaded in [\d.]+ s +has no self-test", tried.output), tried.output


def test_one_changed_byte_is_refused_before_anything_is_parsed(node):
    config = node / "bundles" / "small" / "configs" / "inference.json"
    config.write_bytes(b"{ this is no JSON: whoever parses it would say so")
    result = verified(node, "--load", "small")
    assert result.exit_code == EXIT_CONFIG
    assert "FAIL  small: ModelChanged" in result.output
    assert "nothing of it was loaded" in result.output
    assert "JSON" not in result.output


def test_a_bundle_that_cannot_be_built_fails_only_where_it_is_loaded(node):
    bundle = spleen_form(node / "bundles" / "broken", extra={"network_def": {"_target_": "UNet", "no_such": 1}})
    write_model_file(model_file(bundle, name="broken"), node / "models")
    assert verified(node, "broken").exit_code == 0
    result = verified(node, "broken", "--load")
    assert result.exit_code != 0
    assert "FAIL  broken: ModelFailed" in result.output
