"""A bundle's workflow without loaders, savers and loggers, over one item."""

from __future__ import annotations

import pytest

from dicomnode.errors import ModelFailed
from dicomnode.infer.unattended import OWN_ITEMS, SAVED, before_running, unattended

CONFIG = {
    "bundle_root": "/home/somebody", "device": "cuda:0",
    "loader": {"_target_": "LoadImaged", "keys": "image"},
    "preprocessing": {"_target_": "Compose", "transforms": [
        "@loader", {"_target_": "monai.transforms.EnsureChannelFirstD", "keys": "image"},
        {"_target_": "Spacingd", "keys": "image"}]},
    "dataset": {"_target_": "CacheDataset", "data": "$@datalist", "cache_rate": 1.0, "transform": "@preprocessing"},
    "dataloader": {"_target_": "ThreadDataLoader", "dataset": "@dataset", "num_workers": 4, "shuffle": True,
                   "collate_fn": "$monai.data.utils.no_collation"},
    "handlers": [
        {"_target_": "CheckpointLoader", "load_path": "x"}, {"_target_": "StatsHandler"},
        {"_target_": "scripts.detection_saver.DetectionSaver", "output_transform": "$lambda x: x"},
        {"_target_": "TensorBoardStatsHandler"}],
    "postprocessing": {"_target_": "Compose", "transforms": [
        {"_target_": "Compose", "transforms": [{"_target_": "SaveImaged", "keys": "pred"}]}]},
    "evaluator": {"_target_": "SupervisedEvaluator"},
    "initialize": ["$monai.utils.set_determinism(0)"],
    "run": ["$setattr(torch.backends.cudnn, 'benchmark', True)", "$@evaluator.run()", "$print('done')"],
}


@pytest.fixture
def ready():
    return unattended(CONFIG, bundle_root="/bundle", device="cpu")


def test_loaders_savers_and_loggers_are_gone_wherever_they_stand(ready):
    assert ready["preprocessing"]["transforms"] == [{"_target_": "Spacingd", "keys": "image"}]
    assert ready["handlers"] == [{"_target_": "CheckpointLoader", "load_path": "x"}]
    assert ready["postprocessing"]["transforms"] == [{"_target_": "Compose", "transforms": []}]
    assert ready["loader"]["_disabled_"] is True


def test_the_data_set_is_one_item_that_this_process_loads(ready):
    assert ready["dataset"] == {"_target_": "monai.data.Dataset", "data": [{}], "transform": "@preprocessing"}
    assert ready["dataloader"] == {"_target_": "monai.data.DataLoader", "dataset": "@dataset", "num_workers": 0,
                                   "collate_fn": "$monai.data.utils.no_collation"}
    assert (ready["bundle_root"], ready["device"]) == ("/bundle", "$torch.device('cpu')")


def test_what_the_saver_would_have_saved_can_still_be_asked_for(ready):
    assert ready[SAVED] == "$lambda x: x"


def test_what_comes_before_the_evaluator_is_done_and_nothing_after_it(ready):
    assert before_running(ready) == ["initialize", "run::0"]


def test_the_bundles_own_items_stay_at_hand_for_what_they_have_besides_images(ready):
    assert ready[OWN_ITEMS] == "$@datalist"


def test_more_can_be_taken_out():
    config = {**CONFIG, "postprocessing": [{"_target_": "AsDiscreted", "keys": "pred"}]}
    ready = unattended(config, bundle_root="/b", device="cpu", without=frozenset({"AsDiscreted"}))
    assert ready["postprocessing"] == []


@pytest.mark.parametrize("missing", ["evaluator", "dataset"])
def test_a_workflow_without_an_evaluator_or_a_data_set_says_so(missing):
    with pytest.raises(ModelFailed, match=f"no '{missing}'"):
        unattended({key: value for key, value in CONFIG.items() if key != missing}, bundle_root="/b", device="cpu")
