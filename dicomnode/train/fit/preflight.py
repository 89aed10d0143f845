"""What is looked at before the first step, so that a training does not end an hour later with a riddle."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from dicomnode.errors import UnusableDataset
from dicomnode.train.fit.amp import Precision
from dicomnode.train.fit.loader import moved
from dicomnode.train.fit.prepare import spacing_mm
from dicomnode.train.fit.tasks import Batch

if TYPE_CHECKING:
    from dicomnode.train.dataset.reader import Case, Dataset
    from dicomnode.train.fit.recipe import Recipe
    from dicomnode.train.fit.tasks import Prepared, Sample, Stage, TrainingTask

PLAUSIBLE_SPACING_MM: Final = (0.02, 30.0)
"""A voxel outside of this is a wrong header: metres or microns for millimetres."""


def refuse_unfit(recipe: Recipe, dataset: Dataset, task: TrainingTask, processes: int) -> None:
    """Raise one error with everything that is wrong and can be seen from the recipe, the list of cases and one case.

    Raises
    ------
    UnusableDataset
        One line for each problem.
    """
    problems = [] if dataset.training else ["training: no case; a training needs at least one"]
    if dataset.task != recipe.settings.task:
        problems.append(f"task: the recipe is for {recipe.settings.task}, the data set for {dataset.task}")
    problems += [f"stage {number}: batch_size = {stage.batch_size} cannot be shared by {processes} processes; "
                 f"allowed are multiples of {processes}"
                 for number, stage in enumerate(recipe.stages) if stage.batch_size % processes]
    unlearnable = task.problems(dataset)
    problems += unlearnable
    if dataset.training and not unlearnable:
        problems += _of_first_case(recipe, dataset, task)
    if problems:
        raise UnusableDataset(*(f"{dataset.name}: {problem}" for problem in problems))


def _of_first_case(recipe: Recipe, dataset: Dataset, task: TrainingTask) -> list[str]:
    try:
        prepared = task.prepare(dataset.training[0])
    except UnusableDataset as error:
        return list(error.problems)
    if not any(parameter.requires_grad for parameter in task.network.parameters()):
        return ["network_def: the network has no weights that could learn"]
    return wrong_channels(task.network, prepared) or _no_step(recipe, prepared, task)


def wrong_channels(network: torch.nn.Module, prepared: Prepared) -> list[str]:
    """Return what is wrong where the first convolution takes another number of channels than a case has."""
    layers = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    first = next((module for module in network.modules() if isinstance(module, layers)), None)
    have = prepared.image.values_cxyz.shape[0]
    if first is None or first.in_channels == have:
        return []
    text = (f"the network takes {first.in_channels} channels, a prepared case has {have}: set in_channels of "
            'network_def, or write "@channels" there')
    return [text]


def prepare_all(
    task: TrainingTask, cases: Sequence[Case], *, threads: int, told: Callable[[int], None]
) -> tuple[Prepared, ...]:
    """Prepare cases, several at a time, in their order.

    Parameters
    ----------
    told : called with the number of cases that are done.

    Raises
    ------
    UnusableDataset
        Every case that cannot be prepared.
    """
    done: list[Prepared] = []
    problems: list[str] = []

    def attempt(case: Case) -> Prepared | UnusableDataset:
        try:
            return task.prepare(case)
        except UnusableDataset as error:
            return error

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for number, result in enumerate(pool.map(attempt, cases), start=1):
            if isinstance(result, UnusableDataset):
                problems += result.problems
            else:
                done.append(result)
            told(number)
    if problems:
        raise UnusableDataset(*problems)
    return tuple(done)


def refuse_misfits(recipe: Recipe, dataset: Dataset, training: Sequence[Prepared]) -> None:
    """Raise one error with everything that is wrong with the prepared cases.

    Raises
    ------
    UnusableDataset
        One line for each problem.
    """
    problems = [text for prepared in training for text in _implausible(prepared)]
    largest = tuple(max(prepared.shape_xyz[axis] for prepared in training) for axis in range(3))
    for number, stage in enumerate(recipe.stages):
        if any(wanted > have for wanted, have in zip(stage.patch_size, largest, strict=True)):
            problems.append(f"stage {number}: patch_size = {list(stage.patch_size)} is larger than every training "
                            f"image ({list(largest)} voxels after preprocessing at most): take smaller patches")
    if problems:
        raise UnusableDataset(*(f"{dataset.name}: {problem}" for problem in problems))


def _implausible(prepared: Prepared) -> list[str]:
    low, high = PLAUSIBLE_SPACING_MM
    spacing = spacing_mm(prepared.affine_ras_mm)
    found = []
    if not all(low <= length <= high for length in spacing):
        found.append(f"case {prepared.case.id}: voxels of {' x '.join(f'{length:.4g}' for length in spacing)} mm; "
                     f"allowed are {low:g} to {high:g} mm: its header is wrong")
    if min(prepared.shape_xyz) < 2:  # noqa: PLR2004 - one slice has no third dimension
        found.append(f"case {prepared.case.id}: {list(prepared.shape_xyz)} voxels; a volume has two or more each way")
    return found


def _no_step(recipe: Recipe, prepared: Prepared, task: TrainingTask) -> list[str]:
    """Return why no step can be made in some stage: the network tries two patches of each, and forgets them."""
    before = copy.deepcopy(task.trainee.state_dict())
    found = []
    for number, stage in enumerate(recipe.stages):
        rng = np.random.default_rng((recipe.settings.seed, number))
        try:
            sample = task.draw(prepared, stage, rng)
        except (RuntimeError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            cause = error.__cause__ or error
            found.append(f"stage {number}: augmentation of a first sample failed: {type(cause).__name__}: {cause}")
            continue
        problem = _trial(recipe, task, stage, sample, prepared.case.id)
        found += [f"stage {number}: {problem}"] if problem else []
    task.trainee.load_state_dict(before)
    return found


def _trial(recipe: Recipe, task: TrainingTask, stage: Stage, sample: Sample, case_id: str) -> str:
    """Return what is wrong with the loss or gradient of a batch of twice the same sample; empty where nothing is."""
    parameters = list(task.trainee.parameters())
    precision = Precision.of(recipe.settings.amp, parameters[0].device)
    sample = moved(sample, parameters[0].device)
    batch = Batch(case_ids=(case_id, case_id), samples=(sample, sample))
    try:
        with torch.no_grad(), precision.autocast(), _shortest_edges(task.network) as edges:
            task.loss(task.trainee.train(), batch, stage)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        return f"no loss can be computed for patches of {list(stage.patch_size)} voxels: {error}"
    if min(edges, default=precision.least_map) < precision.least_map:
        return (f"patches of {list(stage.patch_size)} voxels make maps of {min(edges)} voxels inside the network, and "
                f"{precision} gradients of maps below {precision.least_map} are wrong on a CPU: write amp: false, or "
                "take larger patches")
    return ""


@contextmanager
def _shortest_edges(network: torch.nn.Module) -> Iterator[set[int]]:
    """Collect the shortest edge of every map that a convolution sees or makes within the block."""
    found: set[int] = set()

    def look(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        found.update((min(inputs[0].shape[2:]), min(output.shape[2:])))

    layers = (torch.nn.Conv3d, torch.nn.ConvTranspose3d)
    hooks = [module.register_forward_hook(look) for module in network.modules() if isinstance(module, layers)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
