"""The fit of the chest demonstration network: two stages of patches, one learning-rate cycle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from monai.losses.dice import DiceLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dicomnode.train.demo_chest.phantoms import Patches

CLASSES: Final = 3
"""Background, lung, nodule."""
NODULE_PRIOR: Final = -4.0
"""Bias of the nodule output before the first step: rare from the start, or the class never learns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stretch of training: how many steps, of how many cubes, of what edge in voxels."""

    steps: int
    batch: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """One rise and fall of the learning rate.

    Parameters
    ----------
    stages : what is trained on, one after the other.
    peak_rate : the highest learning rate.
    decoy_share : share of the patches around what is as thin as lung and is not.
    nodule_weight : of the nodule class in the cross-entropy; lung and background weigh 1.
    """

    stages: tuple[Stage, ...]
    peak_rate: float
    decoy_share: float
    nodule_weight: float


_POLISH: Final = (Stage(steps=300, batch=3, size=56),)
DEMO_CYCLES: Final = (
    Cycle(
        stages=(Stage(steps=700, batch=6, size=40), Stage(steps=450, batch=3, size=56)),
        peak_rate=3e-3,
        decoy_share=0.0,
        nodule_weight=30.0,
    ),
    Cycle(stages=_POLISH, peak_rate=1.5e-3, decoy_share=0.25, nodule_weight=30.0),
    Cycle(stages=_POLISH, peak_rate=1.5e-3, decoy_share=0.25, nodule_weight=30.0),
    Cycle(stages=_POLISH, peak_rate=1.5e-3, decoy_share=0.3, nodule_weight=8.0),
)
"""Small cubes start the nodule class, which is a few voxels in a hundred thousand; large ones teach where the lungs
are; gentler cycles with decoys teach what is not lung; the last trades nodules dreamt up for nodules missed."""


def fit(
    network: torch.nn.Module,
    patches: Patches,
    cycle: Cycle,
    *,
    report: Callable[[int, float], None],
) -> None:
    """Train in place: Dice plus weighted cross-entropy, AdamW, one cycle, gradients clipped.

    Parameters
    ----------
    network : its output has three channels: background, lung, nodule.
    report : called every 50 steps with the step and the mean loss since the last call.

    Notes
    -----
    Channels last: twice as fast on a CPU.
    """
    total, peak = sum(stage.steps for stage in cycle.stages), cycle.peak_rate
    optimiser = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=1e-4)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=peak, total_steps=total, pct_start=0.15)
    dice = DiceLoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)
    weights = torch.tensor((1.0, 1.0, cycle.nodule_weight))
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's stub lacks it
    network.train()
    losses: list[float] = []
    for step, stage in enumerate(_steps(cycle.stages), start=1):
        images, labels = (torch.from_numpy(array) for array in patches.draw(stage.batch, stage.size))
        logits = network(images.contiguous(memory_format=torch.channels_last_3d))
        loss = dice(logits, labels) + torch.nn.functional.cross_entropy(logits, labels[:, 0], weight=weights)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimiser.step()
        rate.step()
        losses.append(float(loss.detach()))
        if step % 50 == 0:
            report(step, sum(losses) / len(losses))
            losses.clear()
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as above
    network.eval()


def _steps(stages: tuple[Stage, ...]) -> Iterator[Stage]:
    for stage in stages:
        for _ in range(stage.steps):
            yield stage


def set_nodule_prior(network: torch.nn.Module) -> None:
    """Make the nodule class rare before the first step, in the last convolution that has one bias per class.

    Raises
    ------
    ValueError
        where the network has no such convolution.
    """
    for module in reversed(list(network.modules())):
        if not isinstance(module, torch.nn.Conv3d) or module.out_channels != CLASSES:
            continue
        if module.bias is not None:
            with torch.no_grad():
                module.bias[2] = NODULE_PRIOR
            return
    raise ValueError(f"the network has no 3-D convolution with {CLASSES} biased outputs to set a prior on")
