"""The loss that the shipped segmentation recipes use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.losses.dice import DiceLoss


class DiceAndCrossEntropy(torch.nn.Module):
    """Dice of the foreground, pooled over the batch, plus cross-entropy with a weight for each class.

    Parameters
    ----------
    class_weights : of the cross-entropy, background first; left out, every class weighs 1.

    Notes
    -----
    Pooling over the batch keeps the Dice of a rare class from being 0 or 1 by whether a patch holds any of it.
    MONAI's DiceCELoss gives one weight to both parts; the Dice part needs none.
    """

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self._dice = DiceLoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)
        self._weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Loss of logits (b, class, x, y, z) against labels (b, 1, x, y, z)."""
        label = label.long()
        weights = None if self._weights is None else self._weights.to(logits.device)
        entropy = torch.nn.functional.cross_entropy(logits, label[:, 0], weight=weights)
        total: torch.Tensor = self._dice(logits, label) + entropy
        return total
