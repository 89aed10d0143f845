"""A bundle that the administrator trusts with its own code, run by its own evaluator from memory.

Needs pytorch-ignite. The cage around the process is the same as for pieces: no network, no disk, no privileges.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from monai.bundle.config_parser import ConfigParser
from monai.data.meta_tensor import MetaTensor

from dicomnode.errors import GpuOutOfMemory, ModelFailed
from dicomnode.infer import borrowed, boxes, standard, windows
from dicomnode.infer.audit import short_name
from dicomnode.infer.bundle import image_keys
from dicomnode.infer.clock import Clock
from dicomnode.infer.configs import changed, expanded, read_config
from dicomnode.infer.job import Answer, Job, Loading
from dicomnode.infer.memory_files import ROOT, MemoryFiles
from dicomnode.infer.parse import build, components
from dicomnode.infer.shape import GROUND_TRUTH, without_key
from dicomnode.infer.unattended import OWN_ITEMS, SAVED, before_running, unattended

FOREIGN_ERRORS: Final = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError,
                         OSError, ImportError, ArithmeticError)
ROUNDING: Final = frozenset({"AsDiscrete", "AsDiscreted"})
"""What turns probabilities into one class: a report wants the probabilities."""
WORLD: Final = "AffineBoxToWorldCoordinated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A bundle's own evaluator, ready to run over one item.

    Parameters
    ----------
    prompts:
        What an item of the bundle's own data set has besides images: the labels that a promptable model is asked for.
    """

    evaluator: Any
    parser: ConfigParser
    config: Mapping[str, Any]
    keys: tuple[str, ...]
    model: Mapping[str, Any]
    device: torch.device
    files: MemoryFiles
    prompts: Mapping[str, Any]

    def run(self, job: Job) -> Answer:
        """Put the volume in the place of the data set, run the evaluator, and read its output.

        Raises
        ------
        ModelFailed
            If the bundle raises, or its output is not what its task says.
        GpuOutOfMemory
            If memory does not suffice; a bundle's own evaluator knows no smaller attempt.
        """
        clock = Clock()
        try:
            self.parser.get_parsed_content("dataset").data = [self._item(job)]
            clock.lap("preprocess")
            self.evaluator.state.output = None  # else a run that looks at nothing would answer with the study before
            self.evaluator.run()
            clock.lap("inference")
            found = self._answer(job)
        except FOREIGN_ERRORS as error:
            raise _as_ours(error, job) from error
        clock.lap("postprocess")
        job.progress(1.0)
        return Answer(seconds=clock.seconds, found=found, notes=_unused(job.settings))

    def _item(self, job: Job) -> dict[str, Any]:
        image = standard.loaded_image(job.channels_zyx, job.affine_ras_mm)
        return {**self.prompts, **standard.by_key(image, self.keys)}

    def _answer(self, job: Job) -> dict[str, Any]:
        output = self.evaluator.state.output
        if not output:
            msg = "the bundle's evaluator ran and gave no output: its data loader does not hand out its data set's item"
            raise ModelFailed(msg)
        item = output[0] if isinstance(output, list | tuple) else output
        task = self.model["task"]
        if task == "detection":
            return {"boxes": _boxes(self, item, job)}
        prediction = item["pred"]
        if not isinstance(output, list | tuple):
            prediction = prediction[0]
        if task == "classification":
            return {"probabilities": _probabilities(prediction, self.model["classes"])}
        if self.model["overlapping"]:
            prediction = standard.bits_of(prediction)
        labels = standard.labels_zyx(prediction, job.out_zyx.shape)
        standard.write_labels(labels, job.out_zyx)
        return {}


def load(loading: Loading) -> Engine:
    """Import the bundle's scripts from memory, build its evaluator, and do what it does before running.

    Raises
    ------
    ModelFailed
        If pytorch-ignite is missing, or any of that fails.
    """
    if importlib.util.find_spec("ignite") is None:
        msg = ("trust = 'code' runs a bundle's own evaluator, which needs pytorch-ignite: "
               "pip install 'dicomnode-monai[engine]'")
        raise ModelFailed(msg)
    logging.disable(logging.CRITICAL)
    borrowed.lend()
    files = MemoryFiles(loading.files)
    files.__enter__()
    config = read_config(loading.files)
    changed(config, loading.overrides, loading.model.get("remove", ()))
    whole = expanded(config, loading.files)
    if GROUND_TRUTH not in loading.model.get("roles", ()):
        whole = without_key(whole, GROUND_TRUTH)
    ready = unattended(whole, bundle_root=ROOT, device=str(loading.device),
                       without=ROUNDING if loading.model["task"] == "classification" else frozenset())
    keys = image_keys({**whole, "preprocessing": whole["dataset"].get("transform")})
    parser = ConfigParser(config=ready)
    for name in before_running(ready):
        build(parser, name)
    return Engine(evaluator=build(parser, "evaluator"), parser=parser, config=ready, keys=keys, model=loading.model,
                  device=loading.device, files=files, prompts=_prompts(parser, keys))


def _prompts(parser: ConfigParser, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return what the first of the bundle's own items has besides images and truth; most list files of their author."""
    try:
        items = parser.get_parsed_content(OWN_ITEMS)
        first = items[0] if len(items) else {}
        return {key: value for key, value in first.items() if key not in {*keys, GROUND_TRUTH}}
    except FOREIGN_ERRORS:
        return {}


def _unused(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which of the model file's ways to run faster a bundle's own evaluator does not take."""
    wanted = [name for name in ("fast_resample", "clamp_roi", "crop_to_body", "sw_batch_size") if settings.get(name)]
    wanted += ["precision"] if settings.get("precision", "float32") != "float32" else []
    return (f"not used with trust = 'code': {', '.join(wanted)}",) if wanted else ()


def _probabilities(prediction: Any, classes: list[int]) -> dict[str, float]:  # noqa: ANN401 - of the bundle
    values = [float(value) for value in torch.as_tensor(prediction).flatten()]
    if set(classes) != set(range(len(values))) or not all(0 <= value <= 1 for value in values):
        msg = (f"the bundle gives {len(values)} values, {values[:8]}; expected is one probability for each of the "
               f"[[classes]] {classes}, counted from 0")
        raise ModelFailed(msg)
    return {str(value): values[value] for value in classes}


def _boxes(engine: Engine, item: Any, job: Job) -> list[dict[str, object]]:  # noqa: ANN401 - of the bundle
    """Return the boxes of one item on the source grid, as the bundle's own saver would have had them."""
    if SAVED in engine.config:
        item = build(engine.parser, SAVED)([item])[0]
    found = item if "box" in item else {**item["pred"], "image": item["image"]}
    scores = next((key for key in found if str(key).endswith("scores")), None)
    if scores is None:
        msg = f"the bundle's detections have {', '.join(map(str, found))}; expected are box, label and label_scores"
        raise ModelFailed(msg)
    values = {key: np.asarray(torch.as_tensor(found[key]).detach().cpu(), dtype=np.float64)
              for key in ("box", "label", scores)}
    placed = _on_source(engine, values["box"].reshape(-1, 6), found, job)
    labels = engine.model["labels"]
    return [{"box_zyx": box.tolist(), "label": labels[int(kind)], "score": float(score)}
            for box, kind, score in zip(placed, values["label"], values[scores], strict=True)]


def _on_source(engine: Engine, found: boxes.Boxes, item: Mapping[str, Any], job: Job) -> boxes.Boxes:
    steps = [step for value in engine.config.values() for step in components(value)]
    names = {short_name(step["_target_"]): step for step in steps}
    mode = names.get("ConvertBoxModed", {}).get("dst_mode", "xyzxyz")
    if WORLD in names:
        return boxes.from_world(found, mode, job.affine_ras_mm, lps=bool(names[WORLD].get("affine_lps_to_ras", False)))
    image = item.get("image")
    if not isinstance(image, MetaTensor):
        msg = "the bundle's boxes lie on its own grid, and it gives no image that says where that is"
        raise ModelFailed(msg)
    return boxes.to_source(boxes.edges(found, mode), np.asarray(image.affine, dtype=np.float64), job.affine_ras_mm)


def _as_ours(error: Exception, job: Job) -> ModelFailed | GpuOutOfMemory:
    cause = error.__cause__ or error
    if windows.lacks_memory(cause):
        where = f"in the bundle's own evaluator, for a volume of {job.out_zyx.shape}"
        return GpuOutOfMemory(f"memory ran out {where}: raise memory_limit_mb of the model file")
    return ModelFailed(f"the bundle raised {type(cause).__name__}: {str(cause)[:500]}")
