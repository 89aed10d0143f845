from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from dicomnode import config
from dicomnode.adopt.add import Wish, add
from dicomnode.cli import cli
from dicomnode.config.models import load_model
from dicomnode.errors import ConfigError, ModelChanged, ModelRefused, SpoolUnavailable, UnusableBundle
from dicomnode.infer.digest import bundle_digest

QUIET = Wish(load=False)
METADATA = {
    "version": "0.5.3", "intended_use": "Tests only.",
    "network_data_format": {
        "inputs": {"image": {"modality": "CT", "num_channels": 1, "spatial_shape": [96, 96, 96]}},
        "outputs": {"pred": {"format": "segmentation", "channel_def": {"0": "background", "1": "spleen"}}}}}


@pytest.fixture
def bundle(tmp_path) -> Path:
    folder = tmp_path / "from" / "spleen_ct"
    for name, text in {"configs/inference.json": "{}", "configs/metadata.json": json.dumps(METADATA),
                       "models/model.pt": "weights", "docs/README.md": "# Spleen\n\nFinds the spleen."}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def node_toml(tmp_path) -> Path:
    path = tmp_path / "node" / "node.toml"
    path.parent.mkdir()
    path.write_text('[node]\nmodels_dir = "bundles"\n', encoding="utf-8")
    return path


@pytest.fixture
def node(node_toml):
    return config.load(node_toml, environ={})


def everything_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def changed(bundle: Path, **channels: str) -> None:
    """Make the bundle one of other weights, and of other outputs where channels are given."""
    (bundle / "models" / "model.pt").write_text("better weights", encoding="utf-8")
    if channels:
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
        metadata["network_data_format"]["outputs"]["pred"]["channel_def"].update(channels)
        (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")


def test_a_folder_becomes_a_bundle_and_a_model_file_that_pins_it(bundle, node):
    added = add(bundle, node, QUIET)
    model = load_model("spleen_ct", node)
    assert added.bundle == node.node.models_dir / "spleen_ct"
    assert model == added.model
    assert model.digest == bundle_digest(added.bundle) == bundle_digest(bundle)
    assert (model.version, model.intended_use, model.trust) == ("0.5.3", "Tests only.", "pieces")
    assert not model.confirmed
    assert [one.name for one in added.bundle.parent.iterdir()] == ["spleen_ct"]


def test_the_version_that_a_hub_appends_to_a_zip_is_no_part_of_the_name(bundle, node, tmp_path):
    shutil.make_archive(str(tmp_path / "spleen_ct_v0.5.3"), "zip", bundle)
    assert add(tmp_path / "spleen_ct_v0.5.3.zip", node, QUIET).model.name == "spleen_ct"


def test_a_zip_and_a_folder_give_the_same_digest(bundle, node, tmp_path):
    shutil.make_archive(str(tmp_path / "z"), "zip", bundle.parent, bundle.name)
    assert add(tmp_path / "z.zip", node, Wish(name="zipped", load=False)).model.digest == bundle_digest(bundle)


def test_a_name_that_is_taken_is_refused_and_nothing_changes(bundle, node):
    add(bundle, node, QUIET)
    changed(bundle)
    before = everything_below(node.config_dir)
    with pytest.raises(UnusableBundle, match="exists already"):
        add(bundle, node, QUIET)
    assert everything_below(node.config_dir) == before
    assert load_model("spleen_ct", node).digest != bundle_digest(bundle)


def test_replacing_a_bundle_keeps_what_a_person_has_confirmed(bundle, node):
    path = add(bundle, node, QUIET).model_file
    mine = path.read_text(encoding="utf-8").replace("confirmed = false", "confirmed = true  # by me")
    path.write_text(mine.replace('name = "Spleen"', 'name = "Milz"'), encoding="utf-8")
    changed(bundle)
    model = add(bundle, node, Wish(replace=True, load=False)).model
    assert model.digest == bundle_digest(bundle) == bundle_digest(node.node.models_dir / "spleen_ct")
    assert model.confirmed
    assert model.labels[0].name == "Milz"
    assert "# by me" in path.read_text(encoding="utf-8")


def test_a_replacement_with_other_outputs_is_refused(bundle, node):
    add(bundle, node, QUIET)
    pinned = load_model("spleen_ct", node).digest
    changed(bundle, **{"2": "liver"})
    with pytest.raises(UnusableBundle, match="describes 1 outputs, the new bundle says that it has 2"):
        add(bundle, node, Wish(replace=True, load=False))
    assert bundle_digest(node.node.models_dir / "spleen_ct") == pinned


def test_a_replacement_whose_outputs_mean_something_else_is_refused(bundle, node):
    path = add(bundle, node, QUIET).model_file
    pinned = path.read_text(encoding="utf-8")
    changed(bundle, **{"1": "liver"})
    with pytest.raises(UnusableBundle, match=r"giving 1 spleen; the new one says: .*giving 1 liver"):
        add(bundle, node, Wish(replace=True, load=False))
    assert path.read_text(encoding="utf-8") == pinned


def test_a_replacement_takes_the_trust_that_is_asked_for(bundle, node):
    add(bundle, node, QUIET)
    changed(bundle)
    assert add(bundle, node, Wish(replace=True, trust="code", load=False)).model.trust == "code"


def test_a_replacement_whose_model_file_cannot_be_written_leaves_the_old_bundle(bundle, node):
    added = add(bundle, node, QUIET)
    changed(bundle)
    (added.model_file.parent / ".spleen_ct.toml.new").mkdir()
    with pytest.raises(SpoolUnavailable, match="nothing was added"):
        add(bundle, node, Wish(replace=True, load=False))
    assert bundle_digest(added.bundle) == added.model.digest


def test_a_model_file_that_comes_with_a_bundle_does_not_trust_it_by_itself(bundle, node):
    written = add(bundle, node, Wish(name="first", load=False)).model_file.read_text(encoding="utf-8")
    bundle.with_name("spleen_ct.toml").write_text(written.replace('"pieces"', '"code"'), encoding="utf-8")
    with pytest.raises(ModelRefused, match="repeat with --trust code"):
        add(bundle, node, QUIET)
    assert not (node.node.models_dir / "spleen_ct").exists()
    assert add(bundle, node, Wish(trust="code", load=False)).model.trust == "code"


def test_another_digest_than_the_one_asked_for_is_refused(bundle, node):
    with pytest.raises(ModelChanged, match="asked for was sha256:0000"):
        add(bundle, node, Wish(digest="sha256:" + "0" * 64, load=False))
    assert everything_below(node.config_dir) == {"node.toml"}


def test_a_bundle_already_in_its_place_only_gets_a_model_file(bundle, node):
    place = node.node.models_dir / "here"
    shutil.copytree(bundle, place)
    added = add(place, node, QUIET)
    assert (added.bundle, added.model.name, added.model.bundle) == (place, "here", "here")


def test_the_model_file_beside_a_trained_bundle_is_taken_as_it_is(bundle, node, tmp_path):
    written = add(bundle, node, Wish(name="first", load=False)).model_file.read_text(encoding="utf-8")
    beside = bundle.with_name("spleen_ct.toml")
    beside.write_text(written.replace("confirmed = false", "confirmed = true"), encoding="utf-8")
    model = add(bundle, node, QUIET).model
    assert (model.name, model.bundle, model.confirmed) == ("spleen_ct", "spleen_ct", True)
    changed(bundle)
    with pytest.raises(ModelChanged, match="pins"):
        add(bundle, node, Wish(name="third", load=False))


def test_no_route_may_name_a_model_that_nobody_has_confirmed(bundle, node, node_toml):
    path = add(bundle, node, QUIET).model_file
    node_toml.write_text(node_toml.read_text(encoding="utf-8") + '[[routes]]\nname = "r"\nmodel = "spleen_ct"\n',
                         encoding="utf-8")
    with pytest.raises(ConfigError, match="says confirmed = false"):
        config.load(node_toml, environ={})
    path.write_text(path.read_text(encoding="utf-8").replace("confirmed = false", "confirmed = true"), encoding="utf-8")
    assert config.load(node_toml, environ={}).routes[0].model == ("spleen_ct",)


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "x" * 65])
def test_a_name_that_is_no_plain_word_is_refused(bundle, node, name):
    with pytest.raises(UnusableBundle, match="allowed are letters"):
        add(bundle, node, Wish(name=name, load=False))


def test_a_bundle_that_does_not_load_is_added_with_the_reason(bundle, node):
    added = add(bundle, node, Wish())
    assert "network_def" in added.trouble
    assert added.loaded_in_s is None
    assert added.bundle.is_dir()


def test_show_marks_what_was_guessed_and_quotes_the_makers(bundle, node, node_toml):
    add(bundle, node, QUIET)
    said = CliRunner().invoke(cli, ["--config", str(node_toml), "models", "show", "spleen_ct"]).output
    assert "NOT CONFIRMED" in said
    assert "label 1 Spleen: (78961009, SCT, 'Spleen') (guessed)" in said
    assert "Finds the spleen." in said
    assert "only patients" not in said, "no age is excluded"


def test_the_command_says_what_was_added_and_what_is_left_to_do(bundle, node_toml):
    said = CliRunner().invoke(cli, ["--config", str(node_toml), "models", "add", str(bundle), "--no-load"]).output
    assert "added    spleen_ct 0.5.3 (segmentation)" in said
    assert "dicomnode process FOLDER --model spleen_ct" in said


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_left(bundle, node):
    node.node.models_dir.parent.mkdir(parents=True, exist_ok=True)
    node.node.models_dir.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(SpoolUnavailable, match="nothing was added"):
        add(bundle, node, QUIET)
