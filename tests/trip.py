"""A round trip through Orthanc: two real studies, a node that analyses them, and what came back."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import highdicom as hd
from pydicom import dcmread

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import ModelFile
from dicomnode.infer.digest import bundle_digest
from tests.brain_bundles import hippodeep_head, meshnet
from tests.live import ROOT, LiveNode, Orthanc, shared_data, until
from tests.outside import image_volume

PATIENCE_S = 900.0


@dataclass(frozen=True, eq=False)
class Trip:
    """A node and an Orthanc that know each other, and the two studies as files."""

    node: LiveNode
    orthanc: Orthanc
    images: dict[str, list[Path]]
    bundles: Path
    folder: Path

    @cache  # noqa: B019 - one trip per module
    def results(self, name: str) -> dict[str, list[Path]]:
        """Wait until a study is analysed; download what Orthanc then has of it that is no image, by modality."""
        uid = self.study_uid(name)
        until(lambda: self.outcome(name) == "analysed", f"{name} is analysed; log: {self.node.log_path}", PATIENCE_S)
        found: dict[str, list[Path]] = {}
        for series in self.series(uid):
            modality = series["MainDicomTags"]["Modality"]
            for instance in series["Instances"] if modality in {"SEG", "SR", "KO"} else ():
                path = self.orthanc.download(instance, self.folder / f"{name}_{instance}.dcm")
                found.setdefault(modality, []).append(path)
        return found

    def seg(self, name: str, model: str) -> Path:
        """Return the segmentation that a model made."""
        (path,) = [path for path in self.results(name)["SEG"] if model in dcmread(path).SeriesDescription]
        return path

    def series(self, study_uid: str) -> list[dict[str, Any]]:
        return [self.orthanc.get(f"/series/{one}") for one in self.in_orthanc(study_uid)["Series"]]

    def in_orthanc(self, study_uid: str) -> dict[str, Any]:
        every = [self.orthanc.get(f"/studies/{one}") for one in self.orthanc.get("/studies")]
        return next(one for one in every if one["MainDicomTags"]["StudyInstanceUID"] == study_uid)

    def study_uid(self, name: str) -> str:
        return str(dcmread(self.images[name][0], stop_before_pixels=True).StudyInstanceUID)

    def outcome(self, name: str) -> str:
        uid = self.study_uid(name)
        return next((row["outcome"] for row in self.node.rows("studies") if row["study_uid"] == uid), "")

    @cache  # noqa: B019
    def volume(self, name: str) -> hd.Volume:
        return image_volume(self.images[name])


def install_models(bundles: Path, model_files: Path) -> None:
    """Lay out the shipped model and two published brain networks."""
    shutil.copytree(ROOT / "models", bundles)
    head = hippodeep_head(bundles / "head", shared_data("w_hippodeep"))
    for model in (head, clipped(meshnet(bundles / "meshnet", shared_data("w_brainchop_meshnet")), bundles / "meshnet")):
        (model_files / f"{model.name}.toml").write_text(toml(model), encoding="utf-8")


def clipped(model: ModelFile, bundle: Path) -> ModelFile:
    """Clip the brightest thousandth, as FreeSurfer's conform does: fat and vessels of a raw scan outshine the brain."""
    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    scale = next(one for one in config["preprocessing"]["transforms"] if one["_target_"] == "ScaleIntensityd")
    scale.clear()
    scale.update({"_target_": "ScaleIntensityRangePercentilesd", "keys": "image", "lower": 0, "upper": 99.9,
                  "b_min": 0.0, "b_max": 1.0, "clip": True})
    path.write_text(json.dumps(config), encoding="utf-8")
    return replace(model, digest=bundle_digest(bundle))


def toml(model: ModelFile) -> str:
    def code(one: Code) -> str:
        return f'{{ value = "{one.value}", scheme = "{one.scheme}", meaning = "{one.meaning}" }}'

    lines = [f'name = "{model.name}"', 'task = "segmentation"', f'bundle = "{model.bundle}"',
             f'digest = "{model.digest}"', f'intended_use = "{model.intended_use}"',
             "[[inputs]]", 'role = "image"', 'modality = "MR"', "slices = { min = 100 }"]
    for label in model.labels:
        lines += ["[[labels]]", f"value = {label.value}", f'name = "{label.name}"',
                  f"category = {code(label.category)}", f"type = {code(label.type)}",
                  f"colour_rgb = {list(label.colour_rgb)}"]
    return "\n".join([*lines, "[runtime]", "time_limit_s = 900", "memory_limit_mb = 12000", ""])
