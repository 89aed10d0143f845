"""A bundle from memory: its pieces, its weights, and the sentence when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dicomnode.errors import ModelFailed, ModelRefused
from dicomnode.infer.bundle import Bundle, load_pieces
from dicomnode.infer.job import Loading
from tests.bundles import SMALL_UNET, spleen_form


@pytest.fixture(scope="module")
def a_folder(tmp_path_factory) -> Path:
    return spleen_form(tmp_path_factory.mktemp("bundle") / "small")


@pytest.fixture
def files(a_folder) -> dict[str, bytes]:
    return {path.relative_to(a_folder).as_posix(): path.read_bytes() for path in a_folder.rglob("*") if path.is_file()}


def loaded(files: dict[str, bytes], **overrides: object) -> Bundle:
    return load_pieces(loading(files, overrides))


def loading(files: dict[str, bytes], overrides: dict[str, object] | None = None, **model: object) -> Loading:
    return Loading(files=files, overrides=overrides or {}, device=torch.device("cpu"), model=model)


def changed(files: dict[str, bytes], **ids: object) -> dict[str, bytes]:
    config = json.loads(files["configs/inference.json"])
    config.update(ids)
    return {**files, "configs/inference.json": json.dumps(config).encode()}


def test_loaders_and_savers_are_gone_and_the_rest_is_in_order(files):
    bundle = loaded(files)
    assert [type(step).__name__ for step in bundle.preprocessing.transforms] == [
        "Orientationd", "Spacingd", "ScaleIntensityRanged", "EnsureTyped"]
    assert [type(step).__name__ for step in bundle.postprocessing.transforms] == [
        "Activationsd", "Invertd", "AsDiscreted"]
    assert bundle.postprocessing.transforms[1].transform is bundle.preprocessing
    assert (bundle.image_key, bundle.divisor, bundle.network.training) == ("image", 8, False)


def test_the_divisor_comes_from_the_strides_where_metadata_does_not_say(files):
    del files["configs/metadata.json"]
    assert loaded(files).divisor == 4


def test_half_precision_weights_are_widened(files, tmp_path):
    import io

    state = torch.load(io.BytesIO(files["models/model.pt"]), weights_only=True)
    halves = io.BytesIO()
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, halves)
    bundle = loaded({**files, "models/model.pt": halves.getvalue()})
    assert {p.dtype for p in bundle.network.parameters()} == {torch.float32}


def test_weights_of_another_name_are_found_where_the_config_says(files):
    files["models/best.pt"] = files.pop("models/model.pt")
    handlers = [{"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/best.pt'"}]
    assert loaded(changed(files, handlers=handlers)).network is not None


def test_missing_weights_are_named_with_what_there_is(files):
    files["models/other.pt"] = files.pop("models/model.pt")
    with pytest.raises(ModelFailed, match=r"models/model\.pt.*holds models/other\.pt"):
        loaded(files)


def test_an_override_replaces_an_argument(files):
    assert tuple(loaded(files, **{"inferer#roi_size": [16, 16, 16]}).inferer.roi_size) == (16, 16, 16)


def test_an_argument_that_monai_does_not_know_is_named(files):
    network = {**SMALL_UNET, "img_size": 96}
    with pytest.raises(ModelFailed, match=r"network_def.*img_size"):
        loaded(changed(files, network_def=network))


def test_relative_ids_and_macros_within_the_config_are_followed(files):
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": "%size", "overlap": "@##amount"}
    built = loaded(changed(files, size=[24, 24, 24], amount=0.5, inferer=inferer)).inferer
    assert (list(built.roi_size), built.overlap) == ([24, 24, 24], 0.5)


def test_a_macro_to_a_file_is_refused(files):
    with pytest.raises(ModelRefused, match="reads a file"):
        loaded(changed(files, inferer="%/etc/secret.json#key"))


@pytest.mark.parametrize(("text", "said"), [(b"{", "not readable"), (b"[1]", "expected is a table")])
def test_a_damaged_config_is_a_failure_that_says_so(files, text, said):
    with pytest.raises(ModelFailed, match=said):
        loaded({**files, "configs/inference.json": text})


def test_a_bundle_without_a_config_says_where_one_should_be(files):
    del files["configs/inference.json"]
    with pytest.raises(ModelFailed, match=r"configs/inference\.json"):
        loaded(files)


def test_without_pre_and_postprocessing_the_network_alone_is_run(files):
    config = {"network_def": dict(SMALL_UNET)}
    bundle = loaded({**files, "configs/inference.json": json.dumps(config).encode()})
    assert len(bundle.preprocessing.transforms) == 0
    assert type(bundle.inferer).__name__ == "PaddedInferer"


def test_weights_named_in_an_expression_that_is_not_run_are_found_by_their_name(files):
    files["models/old.pt"] = b"damaged"
    files["models/dynunet_FT.pt"] = files.pop("models/model.pt")
    config = changed(files, handlers=[], checkpoint="$Path(@bundle_root).joinpath('models', 'dynunet_FT.pt')")
    assert loaded(config).network is not None


def test_weights_are_not_found_by_the_end_of_another_files_name(files):
    weights = files["models/model.pt"]
    given = {name: text for name, text in files.items() if name != "models/model.pt"}
    given |= {"models/teacher_model.pt": weights, "models/other.pt": weights}
    with pytest.raises(ModelFailed, match=r"weights 'models/model\.pt' are not in the bundle"):
        loaded(changed(given, handlers=[], note="$load('models/model.pt')"))


def test_the_only_weights_that_there_are_are_taken(files):
    files["models/final.pth"] = files.pop("models/model.pt")
    assert loaded(changed(files, handlers=[])).network is not None


def test_a_model_file_may_name_the_weights(files):
    files["models/other.pt"] = files["models/model.pt"]
    files["models/model.pt"] = b"damaged"
    assert loaded(files, checkpointloader={"_target_": "CheckpointLoader", "load_path": "models/other.pt"}) is not None


def test_an_argument_that_monai_dropped_is_removed_by_the_model_file(files):
    config = changed(files, network_def={**SMALL_UNET, "img_size": 96})
    assert load_pieces(loading(config, remove=["network_def#img_size"])).network is not None


def test_a_config_in_yaml_gives_the_same_bundle(files):
    import yaml

    config = yaml.safe_dump(json.loads(files.pop("configs/inference.json"))).encode()
    bundle = loaded({**files, "configs/inference.yaml": config})
    names = [type(step).__name__ for step in bundle.postprocessing.transforms]
    assert names == ["Activationsd", "Invertd", "AsDiscreted"]


@pytest.mark.parametrize(("sizes", "divisor"), [
    (["16*n", "16*n", "8*n"], 16), (["32 * n"], 32), ([96, 96, 96], 4), (["*", "*", "*"], 4), ([], 4)])
def test_the_divisor_is_what_metadata_says_a_size_is_a_multiple_of(files, sizes, divisor):
    metadata = {"network_data_format": {"inputs": {"image": {"spatial_shape": sizes}}}}
    assert loaded({**files, "configs/metadata.json": json.dumps(metadata).encode()}).divisor == divisor


def test_a_loader_of_image_and_label_loads_the_image(files):
    chain = {"_target_": "Compose", "transforms": [
        {"_target_": "LoadImaged", "keys": ["image", "label"]},
        {"_target_": "EnsureChannelFirstd", "keys": ["image", "label"], "channel_dim": -1},
        {"_target_": "EnsureTyped", "keys": ["image", "label"]}]}
    bundle = loaded(changed(files, preprocessing=chain))
    assert bundle.input_keys == ("image",)
    assert [step.keys for step in bundle.preprocessing.transforms] == [("image",)]


def test_loaders_of_several_keys_also_behind_references_are_the_inputs_in_order(files):
    chain = {"_target_": "Compose", "transforms": [
        "@loader", {"_target_": "LoadImaged", "keys": "flair"},
        {"_target_": "ConcatItemsd", "keys": ["t1", "t2", "flair"], "name": "image"}]}
    bundle = loaded(changed(files, loader={"_target_": "LoadImaged", "keys": ["t1", "t2"]}, preprocessing=chain,
                            postprocessing=[]))
    assert (bundle.input_keys, bundle.image_key) == (("t1", "t2", "flair"), "image")


def test_pieces_that_only_the_evaluator_names_are_found(files):
    config = json.loads(files["configs/inference.json"])
    config["evaluator"]["inferer"] = config.pop("inferer")
    config["network"] = config.pop("network_def")
    bundle = loaded({**files, "configs/inference.json": json.dumps(config).encode()})
    assert type(bundle.inferer).__name__ == "SlidingWindowInferer"


def test_an_inferer_that_is_none_is_named(files):
    with pytest.raises(ModelFailed, match="inferer gives UNet"):
        loaded(changed(files, inferer=dict(SMALL_UNET)))
