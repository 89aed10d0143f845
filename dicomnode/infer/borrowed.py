"""The three things that MONAI's RetinaNet borrows from torchvision, for machines without it.

Written from their documented behaviour, so that a detector trains and runs with torch alone: torchvision's wheels
want the CUDA libraries that CPU installations do not have. Where torchvision works, its own are used.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final

import torch
from torch import Tensor, nn


class Matcher:
    """Assigns to each prediction at most one true box, by a matrix of their overlaps.

    Parameters
    ----------
    high_threshold:
        An overlap of at least this is a match.
    low_threshold:
        Below it the prediction is background; between the two it is ignored.
    allow_low_quality_matches:
        Each true box also gets the predictions that overlap it most, ties included, however little.
    """

    BELOW_LOW_THRESHOLD: Final = -1
    BETWEEN_THRESHOLDS: Final = -2

    def __init__(self, high_threshold: float, low_threshold: float, allow_low_quality_matches: bool = False  # noqa: FBT001, FBT002 - as callers pass it
                 ) -> None:
        if low_threshold > high_threshold:
            msg = f"low_threshold = {low_threshold}: allowed are values up to high_threshold = {high_threshold}"
            raise ValueError(msg)
        self.high_threshold, self.low_threshold = high_threshold, low_threshold
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> Tensor:
        """Return for each of N predictions the index of its true box, -1 (background) or -2 (ignored).

        Parameters
        ----------
        match_quality_matrix:
            Shape (true boxes, predictions).

        Raises
        ------
        ValueError
            If either side is empty.
        """
        if match_quality_matrix.numel() == 0:
            which = "true boxes" if match_quality_matrix.shape[0] == 0 else "predictions"
            msg = f"no {which} to match for one of the images"
            raise ValueError(msg)
        best, nearest = match_quality_matrix.max(dim=0)
        matches = nearest.clone()
        matches[best < self.low_threshold] = self.BELOW_LOW_THRESHOLD
        matches[(best >= self.low_threshold) & (best < self.high_threshold)] = self.BETWEEN_THRESHOLDS
        if self.allow_low_quality_matches:
            highest_per_truth = match_quality_matrix.max(dim=1, keepdim=True).values
            chosen = (match_quality_matrix == highest_per_truth).any(dim=0)
            matches[chosen] = nearest[chosen]
        return matches


class BalancedPositiveNegativeSampler:
    """Draws a fixed number of predictions per image by chance, a share of them positive where there are enough."""

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        self.batch_size_per_image, self.positive_fraction = batch_size_per_image, positive_fraction

    def __call__(self, matched_idxs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the masks of drawn positives and of drawn negatives, one pair per image.

        Parameters
        ----------
        matched_idxs:
            Per image and prediction: above 0 positive, 0 negative, below 0 ignored.
        """
        pairs = [self._draw(labels) for labels in matched_idxs]
        return [positive for positive, _ in pairs], [negative for _, negative in pairs]

    def _draw(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        wanted = int(self.batch_size_per_image * self.positive_fraction)
        positive = _some_of(labels >= 1, wanted)
        negative = _some_of(labels == 0, self.batch_size_per_image - int(positive.sum()))
        return positive, negative


def _some_of(candidates: Tensor, count: int) -> Tensor:
    places = torch.where(candidates)[0]
    drawn = places[torch.randperm(places.numel(), device=places.device)[:count]]
    mask = torch.zeros_like(candidates, dtype=torch.uint8)
    mask[drawn] = 1
    return mask


class IntermediateLayerGetter(nn.ModuleDict):
    """Runs a network's direct children in order up to the last wanted one and returns what the wanted ones give.

    Keeps the children's names, so that weights fit; children after the last wanted one are dropped.

    Parameters
    ----------
    return_layers:
        Child's name → name of its output.
    """

    def __init__(self, model: nn.Module, return_layers: Mapping[str, str]) -> None:
        children = dict(model.named_children())
        unknown = [name for name in return_layers if name not in children]
        if unknown:
            msg = f"return_layers {unknown} are no children of the network; it has {', '.join(children)}"
            raise ValueError(msg)
        last = max(list(children).index(name) for name in return_layers)
        super().__init__(OrderedDict(list(children.items())[: last + 1]))
        self.return_layers = {str(name): str(shown) for name, shown in return_layers.items()}

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return the wanted feature maps by their new names, in the network's order."""
        wanted: OrderedDict[str, Tensor] = OrderedDict()
        for name, layer in self.items():
            x = layer(x)
            if name in self.return_layers:
                wanted[self.return_layers[name]] = x
        return wanted


def validate_trainable_layers(is_trained: bool, trainable_backbone_layers: int | None, max_value: int,  # noqa: FBT001 - as MONAI calls it
                              default_value: int) -> int:
    """Return how many layers of a backbone train: all where it starts from chance, else as asked.

    Raises
    ------
    ValueError
        If the number is not between 0 and ``max_value``.
    """
    if not is_trained:
        if trainable_backbone_layers is not None:
            warnings.warn("trainable_backbone_layers has no effect without pretrained weights", stacklevel=2)
        return max_value
    wanted = default_value if trainable_backbone_layers is None else trainable_backbone_layers
    if not 0 <= wanted <= max_value:
        msg = f"trainable_backbone_layers = {wanted}: allowed are 0 to {max_value}"
        raise ValueError(msg)
    return wanted


def lend() -> tuple[str, ...]:
    """Put these in MONAI's detection modules where torchvision's are missing; return the names that were lent.

    Call it before a detector is built, in the process that builds it. Calling it again changes nothing.

    Notes
    -----
    No module named ``torchvision`` is made up: other packages would believe that it is there.
    """
    from monai.apps.detection.networks import retinanet_detector, retinanet_network
    from monai.networks.blocks import backbone_fpn_utils

    lent: dict[str, tuple[Any, Any]] = {
        "Matcher": (retinanet_detector, Matcher),
        "BalancedPositiveNegativeSampler": (retinanet_detector, BalancedPositiveNegativeSampler),
        "_validate_trainable_layers": (retinanet_network, validate_trainable_layers),
        "torchvision_models": (backbone_fpn_utils, SimpleNamespace(
            _utils=SimpleNamespace(IntermediateLayerGetter=IntermediateLayerGetter))),
    }
    missing = [name for name, (module, _) in lent.items() if _is_missing(getattr(module, name))]
    for name in missing:
        module, own = lent[name]
        setattr(module, name, own)
    return tuple(missing)


def _is_missing(value: object) -> bool:
    """Whether MONAI holds its own stand-in, which raises as soon as it is used."""
    return type(value).__name__ == "_LazyRaise"
