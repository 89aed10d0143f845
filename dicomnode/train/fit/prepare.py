"""Cases as a network sees them: the recipe's own preprocessing, and the truth brought to the grid that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import nibabel
import numpy as np
from monai.transforms.compose import Compose
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from dicomnode.errors import UnusableDataset
from dicomnode.train.fit.tasks import PackedImage, Prepared

if TYPE_CHECKING:
    from pathlib import Path

    from dicomnode.train.dataset.reader import Case, DatasetLabel
    from dicomnode.train.fit.recipe import Recipe
    from dicomnode.train.fit.settings import Place

POINTS_PER_PLACE: Final = 20_000
"""Voxels that are remembered of a place in one case: patches need no more to be centred on."""
LPS_TO_RAS: Final = np.array([-1.0, -1.0, 1.0])


class Preparation:
    """Runs the deterministic part of a recipe on cases; may be called from several threads.

    Parameters
    ----------
    labels : of the data set; each gives a place of its name, and all together ``foreground``.
    """

    def __init__(self, recipe: Recipe, labels: tuple[DatasetLabel, ...]) -> None:
        self._chain = Compose(steps_of(recipe, "preprocessing"))
        self._labels = labels
        self._places = recipe.settings.places

    def __call__(self, case: Case) -> Prepared:
        """Read and prepare one case.

        Raises
        ------
        UnusableDataset
            Naming the case, where the preprocessing fails or gives values that are no numbers.
        """
        image_cxyz, affine_ras_mm = self._image(case)
        shape = image_cxyz.shape[1:]
        label_xyz = None if case.label is None else label_on_grid(case.label, affine_ras_mm, shape)
        boxes = boxes_on_grid(case.boxes_lps_mm, affine_ras_mm)
        places = {} if label_xyz is None else self._labelled(label_xyz)
        places |= {name: points(_between(image_cxyz[0], label_xyz, place)) for name, place in self._places.items()}
        if len(boxes):
            places["boxes"] = np.floor((boxes[:, :3] + boxes[:, 3:]) / 2).astype(np.int32)
        return Prepared(
            case=case, image=PackedImage.of(image_cxyz), affine_ras_mm=affine_ras_mm, label_xyz=label_xyz,
            boxes=boxes, box_labels=np.asarray(case.box_labels, np.int64), places=places)

    def _image(self, case: Case) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        try:
            image = self._chain({"image": [str(path) for path in case.images]})["image"]
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OSError, EOFError) as error:
            cause = error.__cause__ or error
            msg = f"case {case.id}: its preprocessing failed: {type(cause).__name__}: {cause}"
            raise UnusableDataset(msg) from error
        values = np.asarray(image.numpy(), np.float32)
        if values.ndim != 4:  # noqa: PLR2004 - channel, x, y, z
            raise UnusableDataset(f"case {case.id}: prepared, it has the shape {values.shape}; expected are channels "
                                  "and three axes")
        if not np.isfinite(values).all():
            raise UnusableDataset(f"case {case.id}: prepared, it holds values that are no numbers (NaN or infinite)")
        return values, np.asarray(image.affine, np.float64)

    def _labelled(self, label_xyz: NDArray[np.uint8]) -> dict[str, NDArray[np.int32]]:
        places = {label.name: points(label_xyz == label.value) for label in self._labels}
        return {**places, "foreground": points(label_xyz > 0)}


def steps_of(recipe: Recipe, key: str) -> list[Any]:
    """Build a chain of the recipe: a list of transforms, or a Compose of them."""
    built = recipe.build(key) if key in recipe.config else []
    return list(built.transforms) if isinstance(built, Compose) else list(built or [])


def label_on_grid(path: Path, affine_ras_mm: NDArray[np.float64], shape_xyz: tuple[int, ...]) -> NDArray[np.uint8]:
    """The label map on another grid, nearest voxel; what lies outside of it is background.

    Raises
    ------
    UnusableDataset
        If a value is above 255.
    """
    source: Any = nibabel.load(path)
    values = np.asarray(source.dataobj)
    if values.max(initial=0) > np.iinfo(np.uint8).max:
        raise UnusableDataset(f"{path.name}: the value {int(values.max())}; training takes label values of 1 to 255")
    to_source = np.linalg.inv(np.asarray(source.affine, np.float64)) @ affine_ras_mm
    values = values.astype(np.uint8)
    if shape_xyz == values.shape and np.abs(to_source - np.eye(4)).max() < 1e-4:  # noqa: PLR2004 - voxels
        return values
    out = affine_transform(values, to_source[:3, :3], to_source[:3, 3], output_shape=shape_xyz, order=0,
                           mode="grid-constant", prefilter=False)
    return np.asarray(out, np.uint8)


def boxes_on_grid(boxes_lps_mm: NDArray[np.float64], affine_ras_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """Boxes (centre and size, LPS mm) as corners on a grid where voxel k covers [k, k + 1]: (n, 6), lower first.

    A box that lies obliquely to the grid becomes the box around its eight corners.
    """
    centres = boxes_lps_mm[:, None, :3] * LPS_TO_RAS
    signs = np.stack(np.meshgrid(*([-0.5, 0.5],) * 3, indexing="ij"), axis=-1).reshape(1, 8, 3)
    corners = centres + signs * boxes_lps_mm[:, None, 3:]
    to_grid = np.linalg.inv(affine_ras_mm)
    index = corners @ to_grid[:3, :3].T + to_grid[:3, 3] + 0.5
    return np.concatenate([index.min(axis=1), index.max(axis=1)], axis=1).astype(np.float32)


def points(mask_xyz: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Some voxels of a mask, evenly taken, in the array's order: (n, 3)."""
    flat = np.flatnonzero(mask_xyz)
    flat = flat[:: max(1, -(-len(flat) // POINTS_PER_PLACE))]
    return np.stack(np.unravel_index(flat, mask_xyz.shape), axis=1).astype(np.int32)


def _between(image_xyz: NDArray[np.float32], label_xyz: NDArray[np.uint8] | None, place: Place) -> NDArray[np.bool_]:
    mask = np.ones(image_xyz.shape, bool) if label_xyz is None else label_xyz == place.label
    if place.above is not None:
        mask &= image_xyz > place.above
    if place.below is not None:
        mask &= image_xyz < place.below
    return mask


def spacing_mm(affine_ras_mm: NDArray[np.float64]) -> tuple[float, float, float]:
    """Length of a voxel along each axis of the array."""
    x, y, z = np.linalg.norm(affine_ras_mm[:3, :3], axis=0)
    return float(x), float(y), float(z)


def place_names(labels: tuple[DatasetLabel, ...], places: Mapping[str, Place]) -> set[str]:
    """Names that ``around`` may use."""
    return {"foreground", "anywhere", "boxes", *(label.name for label in labels), *places}
