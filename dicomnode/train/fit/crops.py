"""Patches: where they are cut, and the cutting."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dicomnode.train.dataset.cases import DatasetLabel
from dicomnode.train.fit.prepare import place_names
from dicomnode.train.fit.recipe import Recipe
from dicomnode.train.fit.tasks import Prepared, Stage

Start = tuple[int, int, int]


def around(recipe: Recipe, stage: Stage) -> Mapping[str, float]:
    """Where the patches of a stage lie: place → share; the stage's own, else the recipe's."""
    given: Mapping[str, float] = stage.more.get("around", recipe.settings.around)
    return given


def around_problems(recipe: Recipe, labels: tuple[DatasetLabel, ...]) -> list[str]:
    """What ``around`` says that no case can give."""
    names, found = place_names(labels, recipe.settings.places), []
    for number, stage in enumerate(recipe.stages):
        shares = around(recipe, stage)
        found += [f"around of stage {number} names {name!r}; allowed are {', '.join(sorted(names))}"
                  for name in shares if name not in names]
        if not sum(shares.values()) > 0:
            found.append(f"around of stage {number} has no share above 0")
    return found


def choose_start(
    prepared: Prepared, size: tuple[int, int, int], around: Mapping[str, float], shift: float, rng: np.random.Generator
) -> Start:
    """Where a patch begins: round a random voxel of a random place, moved by up to ``shift`` of its size.

    Parameters
    ----------
    around : place to share. ``anywhere`` is the whole image, and so is a place that this case does not have.
    """
    names = list(around)
    weights = np.array([around[name] for name in names], float)
    name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    found = prepared.places.get(name)
    shape = np.array(prepared.shape_xyz)
    middle = found[int(rng.integers(len(found)))] if found is not None and len(found) else rng.integers(0, shape)
    reach = (np.array(size) * shift).astype(int)
    start = middle - np.array(size) // 2 + rng.integers(-reach, reach + 1)
    x, y, z = (int(value) for value in np.clip(start, 0, np.maximum(shape - np.array(size), 0)))
    return x, y, z


def cut_patch(
    prepared: Prepared, start: Start, size: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """Image (channel, x, y, z) and labels (x, y, z) of a patch.

    Where the case is smaller than the patch, the image goes on with its lowest value and the labels with background.
    """
    ends = (min(at + length, whole) for at, length, whole in zip(start, size, prepared.shape_xyz, strict=True))
    x, y, z = (slice(at, end) for at, end in zip(start, ends, strict=True))
    image = prepared.image.cut((x, y, z))
    label = None if prepared.label_xyz is None else prepared.label_xyz[x, y, z]
    short = [(0, length - have) for length, have in zip(size, image.shape[1:], strict=True)]
    if any(after for _, after in short):
        image = np.stack([np.pad(channel, short, constant_values=low)
                          for channel, low in zip(image, prepared.image.low, strict=True)])
        label = None if label is None else np.pad(label, short)
    return np.ascontiguousarray(image), None if label is None else np.ascontiguousarray(label)


def boxes_in_patch(
    prepared: Prepared, start: Start, size: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The boxes whose centre lies in a patch, clipped to it, in its own voxels: (n, 6) and (n,)."""
    if prepared.boxes is None or prepared.box_labels is None:
        return np.zeros((0, 6), np.float32), np.zeros(0, np.int64)
    moved = prepared.boxes - np.array([*start, *start], np.float32)
    centres = (moved[:, :3] + moved[:, 3:]) / 2
    inside = ((centres >= 0) & (centres < np.array(size))).all(axis=1)
    limits = np.array([*size, *size], np.float32)
    return np.clip(moved[inside], 0, limits).astype(np.float32), prepared.box_labels[inside]
