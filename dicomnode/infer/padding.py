"""A whole image through a network that wants multiples of something: padded where it must be, and cropped back."""

from __future__ import annotations

import re
from typing import Any, Final

import torch
from monai.inferers.inferer import SimpleInferer
from torch.nn.functional import pad

SIZES: Final = re.compile(r"sizes? of tensors? must match|must match the size|size mismatch|Sizes of tensors",
                          re.IGNORECASE)
"""What torch says where a skip connection meets a feature map of another size."""


class PaddedInferer(SimpleInferer):
    """Runs the image as it is; where the network cannot, pads it at its far ends to a multiple and crops the output.

    Voxels are repeated at the edge: zeros would be a sharp border where intensities do not end at zero.

    Parameters
    ----------
    divisor:
        What each axis is padded to a multiple of.
    """

    def __init__(self, divisor: int) -> None:
        super().__init__()
        self.divisor = divisor

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any  # noqa: ANN401 - MONAI's signature
                 ) -> torch.Tensor:
        """Return the network's output on the grid of the input."""
        output: torch.Tensor
        try:
            output = super().__call__(inputs, network, *args, **kwargs)
        except RuntimeError as error:
            missing = [-size % self.divisor for size in inputs.shape[2:]]
            if not SIZES.search(str(error)) or not any(missing):
                raise
            output = super().__call__(padded(inputs, missing), network, *args, **kwargs)
            whole: tuple[Any, ...] = (..., *(slice(size) for size in inputs.shape[2:]))
            output = output[whole]
        return output


def padded(image: torch.Tensor, missing: list[int]) -> torch.Tensor:
    """Return (batch, channel, …) with each axis longer by what is missing, its last voxels repeated."""
    amounts = [amount for size in reversed(missing) for amount in (0, size)]
    return pad(image.as_subclass(torch.Tensor), amounts, mode="replicate")
