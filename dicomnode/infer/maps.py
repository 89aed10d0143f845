"""From a network's scores to one number for each voxel: how probable, or how uncertain. Only where somebody asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import takewhile
from typing import Any, Final

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.post.dictionary import Activationsd, Invertd
from monai.transforms.utility.dictionary import CastToTyped, EnsureTyped, ToTensord
from numpy.typing import NDArray

from dicomnode.errors import ModelFailed
from dicomnode.infer.bundle import Bundle

BEFORE: Final = (Activationsd, CastToTyped, EnsureTyped, ToTensord)
"""What a bundle's postprocessing may begin with; the rest turns probabilities into labels."""
SUM_TOLERANCE: Final = 1e-3
"""How far the probabilities of one voxel may be from summing to 1, as half precision leaves them."""
FEWEST_CLASSES: Final = 2


def on_source(bundle: Bundle, data: dict[str, Any], output: torch.Tensor, quantity: str, map_zyx: NDArray[Any]) -> None:
    """Write the map of a network's output onto the source grid, by the inverse of the bundle's own preprocessing.

    Interpolated linearly; the labels are put back by the bundle's own rule and do not change.

    Raises
    ------
    ModelFailed
        If the output is none of which a map can be made, or the preprocessing has no inverse.
    """
    steps = takewhile(lambda step: isinstance(step, BEFORE), bundle.postprocessing.transforms)
    values = on_network_grid(output[0], [*steps], bundle, quantity)
    if bundle.preprocessing.transforms:
        back = Invertd(bundle.pred_key, bundle.preprocessing, orig_keys=bundle.image_key, nearest_interp=False,
                       to_tensor=True)
        given: dict[Hashable, Any] = dict(data.items())
        given[bundle.pred_key] = MetaTensor(values[None])
        values = back(given)[bundle.pred_key][0]
    found = plain(values).cpu().numpy().transpose(2, 1, 0)
    if found.shape != map_zyx.shape:
        msg = f"the inverse of the bundle's preprocessing gives {found.shape}, the images have {map_zyx.shape}"
        raise ModelFailed(msg)
    np.clip(found, 0, 1, out=map_zyx)


def on_network_grid(scores: torch.Tensor, activation: Sequence[Any], bundle: Bundle, quantity: str) -> torch.Tensor:
    """Return the quantity of each voxel of a network's output, shape as its spatial axes, float32.

    Parameters
    ----------
    scores:
        Class first, as the network gives them.
    activation:
        The steps of the bundle's own postprocessing that make probabilities of them, if any.

    Raises
    ------
    ModelFailed
        If the output is a label map.
    """
    channels = int(scores.shape[0])
    exclusive = channels > 1 and not bundle.overlapping
    if activation:
        for step in activation:
            scores = step({bundle.pred_key: scores})[bundle.pred_key]
        scores = plain(torch.as_tensor(scores))
    if channels == 1 and bool((scores == scores.round()).all()) and float(scores.max()) > 1:
        msg = "the network gives labels, not probabilities"
        raise ModelFailed(msg)
    probable = _activation(scores, exclusive=exclusive)
    reduce = {"probability": _probability, "uncertainty": _uncertainty}[quantity]
    found = torch.empty(scores.shape[1:], dtype=torch.float32)
    for k in range(scores.shape[1]):
        found[k] = reduce(probable(plain(scores[:, k]).float()), exclusive=exclusive).cpu()
    return found


def plain(values: torch.Tensor) -> torch.Tensor:
    """Return the numbers without what MONAI knows about them."""
    values = values.detach()
    return values.as_tensor() if isinstance(values, MetaTensor) else values


def _activation(scores: torch.Tensor, *, exclusive: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what makes probabilities of one slice's scores: nothing where they are some already."""
    if float(scores.min()) >= 0 and float(scores.max()) <= 1 + SUM_TOLERANCE \
            and (not exclusive or all(_sums_to_one(plane) for plane in _planes(scores))):
        return lambda plane: plane
    return (lambda plane: torch.softmax(plane, dim=0)) if exclusive else torch.sigmoid


def _planes(scores: torch.Tensor) -> Iterator[torch.Tensor]:
    return (plain(scores[:, k]).float() for k in range(scores.shape[1]))


def _sums_to_one(plane: torch.Tensor) -> bool:
    return bool(((plane.sum(dim=0) - 1).abs() <= SUM_TOLERANCE).all())


def _probability(probabilities: torch.Tensor, *, exclusive: bool) -> torch.Tensor:
    return (probabilities[1:] if exclusive else probabilities).max(dim=0).values


def _uncertainty(probabilities: torch.Tensor, *, exclusive: bool) -> torch.Tensor:
    """Entropy as a fraction of the largest possible; of labels that share voxels, that of the least sure one."""
    if exclusive:
        return torch.div(torch.special.entr(probabilities).sum(dim=0), math.log(probabilities.shape[0]))
    each = torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)
    return torch.div(each.max(dim=0).values, math.log(FEWEST_CLASSES))
