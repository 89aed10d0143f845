"""The random steps of a recipe: named transforms of MONAI, each sample's choices fixed by its own generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from monai.data.meta_obj import get_track_meta, set_track_meta
from monai.transforms.compose import Compose

from dicomnode.train.fit.prepare import steps_of

if TYPE_CHECKING:
    from dicomnode.train.fit.recipe import Recipe
    from dicomnode.train.fit.tasks import Sample


class Augmentation:
    """Runs ``augmentation`` of a recipe on samples; not to be shared between threads."""

    def __init__(self, recipe: Recipe) -> None:
        self._chain = Compose(steps_of(recipe, "augmentation"))
        self.names = tuple(step_name(entry) for entry in recipe.config.get("augmentation") or [])

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Vary one sample; the same generator state gives the same sample."""
        self._chain.set_random_state(seed=int(rng.integers(2**31)))
        tracked = get_track_meta()
        set_track_meta(False)
        try:
            varied: dict[str, Any] = self._chain(sample)
        finally:
            set_track_meta(tracked)
        return varied


def step_name(entry: dict[str, Any]) -> str:
    """A step as the contact sheet names it: its class without the ending d, and what it was given."""
    given = ", ".join(f"{key} {value}" for key, value in entry.items() if key not in {"_target_", "keys"})
    short = str(entry.get("_target_", "?")).rsplit(".", maxsplit=1)[-1].removesuffix("d")
    return f"{short}: {given}" if given else short
