"""Scores of a bundle on phantoms, measured through the bundle's own configuration, on the source grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from monai.bundle.config_parser import ConfigParser
from monai.data.meta_tensor import MetaTensor

from dicomnode.train.demo_chest.phantoms import held_out_phantom

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from dicomnode.phantom.chest import ChestPhantom

CLASSES: Final = {"Lung": 1, "Nodule": 2}
HIT_MM: Final = 3.0
"""A nodule counts as found where a labelled voxel lies within this distance of its centre."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a bundle reached on a set of phantoms.

    Parameters
    ----------
    dice : class name to Dice, pooled over all voxels of all phantoms.
    lowest_lung_dice : the Dice of the lungs in the worst of them.
    nodules, found : how many nodules there were, and how many had a labelled voxel near their centre.
    """

    dice: dict[str, float]
    lowest_lung_dice: float
    nodules: int
    found: int
    phantoms: int


class BundleRunner:
    """Runs a segmentation bundle's preprocessing, inferer and postprocessing on arrays, without its file readers."""

    def __init__(self, bundle: Path, *, overrides: dict[str, Any] | None = None) -> None:
        parser = ConfigParser()
        parser.read_config(str(bundle / "configs" / "inference.json"))
        parser["bundle_root"] = str(bundle)
        parser["device"] = "cpu"
        for stage in ("preprocessing", "postprocessing"):
            kept = [t for t in parser[stage]["transforms"] if t["_target_"] not in _FILE_TRANSFORMS]
            parser[stage]["transforms"] = kept
        for key, value in (overrides or {}).items():
            parser[key] = value
        self._before = parser.get_parsed_content("preprocessing")
        self._after = parser.get_parsed_content("postprocessing")
        self._inferer = parser.get_parsed_content("inferer")
        self.network: torch.nn.Module = parser.get_parsed_content("network")
        weights = bundle / "models" / "model.pt"
        if weights.is_file():
            self.network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
        self.network.eval()

    def segment(self, hu_zyx: NDArray[np.int16], spacing_zyx_mm: tuple[float, float, float]) -> NDArray[np.uint8]:
        """Labels on the source grid; the input's axes grow to the head, the back and the left."""
        dz, dy, dx = spacing_zyx_mm
        affine_ras_mm = torch.diag(torch.tensor([-dx, -dy, dz, 1.0], dtype=torch.float64))
        hu_cxyz = torch.from_numpy(np.ascontiguousarray(hu_zyx.transpose(2, 1, 0)[None], np.float32))
        image = MetaTensor(hu_cxyz, affine=affine_ras_mm)
        data = self._before({"image": image})
        with torch.inference_mode():
            data["pred"] = self._inferer(data["image"][None], self.network)[0]
        label_xyz = np.asarray(self._after(data)["pred"])[0]
        return np.asarray(label_xyz.transpose(2, 1, 0), np.uint8)


_FILE_TRANSFORMS: Final = ("LoadImaged", "EnsureChannelFirstd", "SaveImaged")


def score(runner: BundleRunner, seeds: Iterable[int]) -> Scores:
    """Pooled Dice of each class over the default phantoms of these seeds."""
    overlaps = {name: np.zeros(2) for name in CLASSES}
    lungs: list[float] = []
    total = found = 0
    for seed in seeds:
        phantom = held_out_phantom(seed)
        label_zyx = runner.segment(phantom.hu_zyx, phantom.spacing_zyx_mm)
        for name, value in CLASSES.items():
            both, either = overlap(label_zyx == value, phantom.truth_zyx == value)
            overlaps[name] += (both, either)
            if name == "Lung":
                lungs.append(2.0 * both / max(either, 1))
        total += len(phantom.nodules)
        found += sum(_is_found(label_zyx, phantom, number) for number in range(len(phantom.nodules)))
    return Scores(
        dice={name: round(float(2.0 * both / max(either, 1.0)), 4) for name, (both, either) in overlaps.items()},
        lowest_lung_dice=round(min(lungs), 4),
        nodules=total,
        found=found,
        phantoms=len(lungs),
    )


def overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[int, int]:
    """Voxels in both masks, and the sum of the voxels of each: Dice is twice the one over the other."""
    return int(np.count_nonzero(first & second)), int(np.count_nonzero(first)) + int(np.count_nonzero(second))


def _is_found(label_zyx: NDArray[np.uint8], phantom: ChestPhantom, number: int) -> bool:
    centre = phantom.nodules[number].centre_index_zyx
    cut = tuple(
        slice(max(0, round(at - HIT_MM / step)), round(at + HIT_MM / step) + 1)
        for at, step in zip(centre, phantom.spacing_zyx_mm, strict=True)
    )
    return bool((label_zyx[cut] == CLASSES["Nodule"]).any())
