"""Small bundles in the shapes of the Model Zoo's main ones, with random weights that give every label somewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dicomnode.infer import borrowed
from tests.bundles import SMALL_UNET, save_weights, spleen_form

INVERT = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image", "to_tensor": True}
SLIDING = {"_target_": "SlidingWindowInferer", "sw_batch_size": 1, "overlap": 0.25}
RETINA_SCRIPTS = {
    "__init__.py": "",
    "wording.py": "SCORES = 'label_scores'\n",
    "inferer.py": '''
from monai.inferers import Inferer


class BoxInferer(Inferer):
    """Gives images to a detector, through windows where they are large."""

    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def __call__(self, inputs, network, *args, **kwargs):
        self.detector.network = network
        self.detector.training = network.training
        return self.detector(inputs, use_inferer=True)
''',
    "evaluator.py": '''
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents


def images_of(batch, device=None, non_blocking=False, **kwargs):
    return [item["image"].to(device) for item in batch], None


class BoxEvaluator(SupervisedEvaluator):
    """Its output is one table per image: image and boxes."""

    def __init__(self, **kwargs):
        super().__init__(prepare_batch=images_of, **kwargs)

    def _register_decollate(self):
        @self.on(IterationEvents.MODEL_COMPLETED)
        def part(engine):
            given = engine.state.output
            engine.state.output = [{key: given[key][i] for key in given if given[key] is not None}
                                   for i in range(len(given["image"]))]
''',
    "saver.py": '''
import json
import os

from monai.handlers import ClassificationSaver

from .wording import SCORES


class BoxSaver(ClassificationSaver):
    """Writes boxes as JSON."""

    def _finalize(self, engine):
        with open(os.path.join(self.output_dir, self.filename), "w") as file:
            json.dump([{key: one[key].tolist() for key in ("box", "label", SCORES)} for one in self._outputs], file)
''',
}
SEGMENTING_SCRIPTS = {
    "net.py": """
import json
import os

import torch


def scale():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with open(os.path.join(root, "configs", "scale.json")) as file:
        return json.load(file)["scale"]


class Prompted:
    def __call__(self, data):
        return {**data, "image": data["image"] + data["prompt"]}


class Scaled(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.inner = network
        self.scale = scale()

    def forward(self, image):
        return self.inner(image * self.scale)
""",
}


def changed_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Let ``change`` edit the inference config of a bundle."""
    path = folder / "configs" / "inference.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config, indent=1), encoding="utf-8")
    return folder


def brats_form(folder: Path) -> Path:
    """Four files as one image, no resampling, a window larger than the image, three sigmoid outputs that overlap."""
    post = [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}, {**INVERT, "nearest_interp": False},
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}]
    spleen_form(
        folder, network={**SMALL_UNET, "in_channels": 4}, postprocessing=post,
        preprocessing=[{"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True}],
        extra={"inferer": {**SLIDING, "roi_size": [64, 64, 48]}})
    return changed_config(folder, lambda config: config["dataset"].update(data="$[{'image': @datalist}]"))


def whole_body_form(folder: Path) -> Path:
    """105 classes, argmax before Invertd, the nearest neighbour; a switch chooses spacing and weights."""
    def change(config: dict[str, Any]) -> None:
        config["displayable_configs"] = {"highres": False, "sw_overlap": 0.25, "sw_batch_size": 1}
        config["image_key"] = "image"
        config["pixdim"] = "$[1.5, 1.5, 1.5] if @displayable_configs#highres else [3.0, 3.0, 3.0]"
        config["modelname"] = "$'model.pt' if @displayable_configs#highres else 'model_lowres.pt'"
        for step in config["preprocessing"]["transforms"]:
            step["keys"] = "@image_key"
            step.update({"pixdim": "@pixdim"} if step["_target_"] == "Spacingd" else {})
        config["preprocessing"]["transforms"].insert(1, {"_target_": "EnsureTyped", "keys": "@image_key"})
        config["checkpointloader"] = {**config["handlers"][0], "load_path": "$@bundle_root + '/models/' + @modelname"}
        config["handlers"] = [{"_target_": "StatsHandler", "iteration_log": False}]
        config["initialize"] = ["$setattr(torch.backends.cudnn, 'benchmark', True)", "$@checkpointloader(@evaluator)"]
        config["inferer"] = {
            **SLIDING, "roi_size": [32, 32, 32], "mode": "gaussian", "padding_mode": "replicate",
            "overlap": "@displayable_configs#sw_overlap", "sw_batch_size": "@displayable_configs#sw_batch_size",
            "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"}

    post = [{"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {**INVERT, "nearest_interp": True, "orig_keys": "@image_key"}]
    spleen_form(folder, network={**SMALL_UNET, "out_channels": 105}, postprocessing=post)
    (folder / "models" / "model.pt").rename(folder / "models" / "model_lowres.pt")
    (folder / "models" / "model.pt").write_bytes(b"weights of the other spacing")
    return changed_config(folder, change)


def slicewise_form(folder: Path) -> Path:
    """A flat network over each slice, as the zoo's short-axis heart."""
    spleen_form(
        folder, network={**SMALL_UNET, "spatial_dims": 2}, extra={"inferer": {
            "_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2, "sw_batch_size": 4, "overlap": 0.25}},
        preprocessing=[{"_target_": "ScaleIntensityd", "keys": "image", "minv": 0.0, "maxv": 1.0, "channel_wise": True},
                       {"_target_": "EnsureTyped", "keys": "image"}])
    return folder


def evaluated_form(folder: Path) -> Path:
    """The spleen form as one evaluates: keys for a truth that is not there, a loader by reference, a nested saver."""
    def change(config: dict[str, Any]) -> None:
        config["loader"] = {"_target_": "LoadImageDict", "keys": "@input_keys", "image_only": True}
        config["input_keys"] = ["image"]
        config["preprocessing"]["transforms"][0] = "@loader"
        config["postprocessing"] = {"_target_": "Compose", "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True}, {**INVERT, "nearest_interp": False},
            {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False]},
            {"_target_": "Compose", "transforms": [config["postprocessing"]["transforms"][-1]]}]}
    return changed_config(spleen_form(folder), change)


def scripted_form(folder: Path) -> Path:
    """A segmentation whose network is wrapped by the bundle's own code, which reads a file of the bundle."""
    def change(config: dict[str, Any]) -> None:
        config["imports"] += ["$import scripts.net", "$import no_such_package_of_the_author as own"]
        config["prompt"] = 1.0
        config["dataset"]["data"] = "$[{'image': i, 'prompt': @prompt} for i in (@datalist or ['absent'])]"
        config["preprocessing"]["transforms"].append({"_target_": "scripts.net.Prompted"})
        config["bare"] = config["network_def"]
        config["network_def"] = {"_target_": "scripts.net.Scaled", "network": "@bare"}
        config["checkpoint"] = {**config.pop("handlers")[0], "load_dict": {"model": "@bare"}}
        config["handlers"] = ["@checkpoint", {"_target_": "StatsHandler", "iteration_log": False}]
        config["initialize"] = ["$monai.utils.set_determinism(seed=123)"]
    write_scripts(folder, SEGMENTING_SCRIPTS)
    spleen_form(folder)
    (folder / "configs" / "scale.json").write_text('{"scale": 0.5}', encoding="utf-8")
    return changed_config(folder, change)


def retina_form(folder: Path) -> Path:
    """A RetinaNet with scripts of its own, windows, and boxes saved in patient millimetres."""
    import torch
    from monai.bundle import ConfigParser

    borrowed.lend()
    write_scripts(folder, RETINA_SCRIPTS)
    spleen_form(folder)
    changed_config(folder, _retina)
    config = json.loads((folder / "configs" / "inference.json").read_text(encoding="utf-8"))
    torch.manual_seed(4)
    parser = ConfigParser({name: config[name] for name in ("backbone", "feature_extractor", "network_def")})
    network = parser.get_parsed_content("network_def")
    for name, value in network.named_parameters():
        if name.endswith("weight") and value.ndim == 5:
            torch.nn.init.normal_(value, std=0.08)
    save_weights(folder, network.state_dict())
    return folder


def _retina(config: dict[str, Any]) -> None:
    config["backbone"] = {
        "_target_": "ResNet", "block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [8, 8, 8, 8],
        "spatial_dims": 3, "n_input_channels": 1, "conv1_t_stride": 2, "conv1_t_size": 3}
    config["feature_extractor"] = {
        "_target_": "monai.networks.blocks.BackboneWithFPN", "backbone": "@backbone", "spatial_dims": 3,
        "return_layers": {"layer1": "0", "layer2": "1"}, "in_channels_list": [8, 8], "out_channels": 8}
    config["network_def"] = {
        "_target_": "RetinaNet", "spatial_dims": 3, "num_classes": 2, "num_anchors": 1,
        "feature_extractor": "@feature_extractor", "size_divisible": [16, 16, 16]}
    config["anchor_generator"] = {
        "_target_": "monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape",
        "feature_map_scales": [1, 2, 4], "base_anchor_shapes": [[4, 4, 4]]}
    config["detector"] = {
        "_target_": "RetinaNetDetector", "network": "@network", "anchor_generator": "@anchor_generator"}
    config["detector_ops"] = [
        "$@detector.set_target_keys(box_key='box', label_key='label')",
        "$@detector.set_box_selector_parameters(score_thresh=0.0,nms_thresh=0.1,detections_per_img=12)",
        "$@detector.set_sliding_window_inferer(roi_size=[32,32,32],overlap=0.25,sw_batch_size=1,device='cpu')"]
    config["inferer"] = {"_target_": "scripts.inferer.BoxInferer", "detector": "@detector"}
    config["postprocessing"] = {"_target_": "Compose", "transforms": [
        {"_target_": "ClipBoxToImaged", "box_keys": "box", "label_keys": ["label", "label_scores"],
         "box_ref_image_keys": "image", "remove_empty": True},
        {"_target_": "AffineBoxToWorldCoordinated", "box_keys": "box", "box_ref_image_keys": "image",
         "affine_lps_to_ras": True},
        {"_target_": "ConvertBoxModed", "box_keys": "box", "src_mode": "xyzxyz", "dst_mode": "cccwhd"}]}
    config["dataloader"].update(collate_fn="$monai.data.utils.no_collation", num_workers=1)
    config["handlers"] += [
        {"_target_": "StatsHandler", "iteration_log": False},
        {"_target_": "scripts.saver.BoxSaver", "output_dir": "@output_dir", "filename": "boxes.json",
         "batch_transform": "$lambda x: [item['image'].meta for item in x]",
         "output_transform": "$lambda x: [@postprocessing({**item['pred'], 'image': item['image']}) for item in x]"}]
    config["evaluator"].update({"_target_": "scripts.evaluator.BoxEvaluator", "_requires_": "@detector_ops"})
    config["evaluator"].pop("postprocessing")
    config["evaluating"] = ["$setattr(torch.backends.cudnn, 'benchmark', True)", "$@evaluator.run()"]
    config.pop("run")


def write_scripts(folder: Path, scripts: dict[str, str]) -> None:
    """Write the bundle's own package."""
    (folder / "scripts").mkdir(parents=True, exist_ok=True)
    for name, text in scripts.items():
        (folder / "scripts" / name).write_text(text, encoding="utf-8")


def roles(names: Sequence[str]) -> tuple[Any, ...]:
    """Return the inputs of a model file, in the network's order."""
    from dicomnode.domain.model import InputRole

    return tuple(InputRole(role=name, modality="MR") for name in names)
