"""Bundles that keep a piece elsewhere, or carry what only evaluation needs, come into one shape."""

from __future__ import annotations

from dicomnode.infer.shape import shaped, without_key

PAIRED = {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 3}


def test_the_ground_truth_leaves_lists_of_keys_and_what_stands_parallel_to_them():
    assert without_key({"steps": [PAIRED]}, "label") == {
        "steps": [{"_target_": "AsDiscreted", "keys": ["pred"], "argmax": [True], "to_onehot": 3}]}


def test_a_transform_of_the_ground_truth_alone_leaves_its_chain():
    chain = {"_target_": "Compose", "transforms": [
        {"_target_": "LoadImaged", "keys": ["image", "label"]},
        {"_target_": "Compose", "transforms": [{"_target_": "Spacingd", "keys": "label", "mode": "nearest"}]},
        {"_target_": "Spacingd", "keys": ["image", "label"], "pixdim": [1.5, 2.0], "mode": ["bilinear", "nearest"]}]}
    assert without_key(chain, "label")["transforms"] == [
        {"_target_": "LoadImaged", "keys": ["image"]}, {"_target_": "Compose", "transforms": []},
        {"_target_": "Spacingd", "keys": ["image"], "pixdim": [1.5, 2.0], "mode": ["bilinear"]}]


def test_a_transform_of_the_ground_truth_that_others_name_is_switched_off():
    config = {"truth": {"_target_": "Spacingd", "keys": ["label"]}, "preprocessing": ["@truth"]}
    assert without_key(config, "label")["truth"]["_disabled_"] is True


def test_an_input_that_is_called_label_is_kept():
    assert shaped({"preprocessing": [PAIRED]}, roles=("image", "label"))["preprocessing"] == [PAIRED]


def test_nothing_else_is_touched():
    config = {"preprocessing": [{"_target_": "EnsureTyped", "keys": "image"}], "keys": ["label"], "other": "label"}
    assert shaped(config) == config


def test_a_piece_is_found_where_dataset_and_evaluator_have_it():
    config = {
        "network": {"_target_": "UNet"},
        "dataset": {"_target_": "Dataset", "transform": {"_target_": "Compose", "transforms": []}},
        "evaluator": {"_target_": "SupervisedEvaluator", "inferer": {"_target_": "SimpleInferer"}, "postprocessing": [
            {"_target_": "Invertd", "keys": "pred", "transform": "@dataset::transform", "orig_keys": "image"}]},
    }
    got = shaped(config)
    assert got["network_def"] == {"_target_": "UNet"}
    assert got["preprocessing"] == {"_target_": "Compose", "transforms": []}
    assert got["inferer"] == {"_target_": "SimpleInferer"}
    assert got["postprocessing"][0]["transform"] == "@preprocessing"


def test_a_piece_at_its_usual_id_is_never_replaced():
    config = {"network_def": {"_target_": "UNet"}, "network": "$@network_def.to(@device)",
              "inferer": {"_target_": "SimpleInferer"}, "evaluator": {"inferer": {"_target_": "Other"}}}
    assert shaped(config) == config


def test_a_reference_is_followed_not_copied():
    config = {"val_chain": {"_target_": "Compose", "transforms": []}, "dataset": {"transform": "@val_chain"}}
    assert shaped(config)["preprocessing"] == "@val_chain"
