"""One request to a child: volumes in shared memory, geometry and settings as JSON, memory for the labels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.model import ModelFile, Runtime
from dicomnode.domain.volume import Volume
from dicomnode.infer import wire
from dicomnode.infer.align import channels, cover_warnings
from dicomnode.infer.onto import on_one_grid
from dicomnode.infer.output import RawBox
from dicomnode.infer.straight import returned, returned_box, said

LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


class Request:
    """Volumes in shared memory, and the memory into which the labels will be written.

    Parameters
    ----------
    with_map:
        Whether somebody asks for a map besides; most models can give one, see ``warnings``.
    """

    def __init__(self, model: ModelFile, volumes: Mapping[str, Volume], *, with_map: bool = False) -> None:
        self._model, self._with_map = model, with_map
        self._channels, self._uncovered = channels(model, volumes), tuple(cover_warnings(model, volumes))
        self._given = [volumes.get(role.role) for role in model.inputs]
        self._source, self._stack = volumes[model.inputs[0].role].stack, self._channels[0].stack
        stack = self._stack
        self._shape = stack.shape_zyx
        self._affine = stack.affine_lps_mm
        self._dtype = label_dtype(model)
        self.fds = [wire.share(volume.values_zyx) for volume in self._channels]
        self._written = [self._dtype, *(["float32"] if with_map and gives_map(model) else [])]
        self.fds += [wire.allocate(int(np.prod(self._shape)) * np.dtype(dtype).itemsize) for dtype in self._written]

    def message(self) -> dict[str, object]:
        """Return the request as JSON data: no patient data, only geometry and settings."""
        runtime = self._model.runtime
        return {
            "do": "run", "shape": list(self._shape), "out_dtype": self._dtype,
            "quantity": self._model.outputs.quantity if len(self._written) > 1 else "",
            "affine_ras_mm": affine_ras_mm(self._affine).tolist(),
            "inputs": [{"dtype": str(volume.values_zyx.dtype)} for volume in self._channels],
            "settings": {"precision": runtime.precision, "fast_resample": runtime.fast_resample,
                         "clamp_roi": runtime.clamp_roi, "crop_to_body": runtime.crop_to_body,
                         "sw_batch_size": runtime.sw_batch_size},
        }

    def notes(self) -> tuple[str, ...]:
        """Say which inputs were interpolated."""
        first = self._model.inputs[0].role
        return tuple(f"input {role.role} was interpolated onto the grid of {first}"
                     for role, given in zip(self._model.inputs, self._given, strict=True)
                     if given is not None and not on_one_grid(given.stack, self._source))

    def warnings(self) -> tuple[str, ...]:
        """Say what a reader must know: inputs absent or covered in part, slices that were tilted or uneven."""
        absent = tuple(f"input {role.role} is absent: the model ran without it"
                       for role, given in zip(self._model.inputs, self._given, strict=True) if given is None)
        known = (*absent, *self._uncovered)
        return known if self._stack is self._source else (*known, said(self._source))

    def labels(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return the labels on the true slices of the first input, without copying them where the model saw those."""
        return self.on_source(wire.view(self.fds[len(self._channels)], self._dtype, self._shape))

    def map(self, why_not: str) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
        """Return the map on the true slices of the first input, and what a reader must know where there is none.

        Parameters
        ----------
        why_not:
            What the child says of a map that it could not write.
        """
        if not self._with_map:
            return None, ()
        if not gives_map(self._model):
            return None, (self._no_map("only a segmentation with trust = 'pieces' can"),)
        values = wire.view(self.fds[-1], "float32", self._shape)
        if not why_not and not (float(values.min()) >= 0 and float(values.max()) <= 1):
            why_not = "its values are no fractions of 0 to 1"
        return (None, (self._no_map(why_not),)) if why_not else (self.on_source(values), ())

    def _no_map(self, why: str) -> str:
        return (f"model {self._model.name} gives no parametric map: {why}; leave PM out of `outputs` and `takes` where "
                "it runs, and of its [outputs]")

    def on_source(self, values_zyx: NDArray[Any]) -> NDArray[Any]:
        """Return values on the grid that the model saw, on the true slices of the first input: nearest neighbours."""
        return returned(values_zyx, self._stack, self._source)

    def boxes_on_source(self, boxes: tuple[RawBox, ...] | None) -> tuple[RawBox, ...] | None:
        """Return boxes on the grid that the model saw, in index coordinates of the first input's true slices."""
        if boxes is None or self._stack is self._source:
            return boxes
        return tuple(replace(box, box_zyx=returned_box(box.box_zyx, self._stack, self._source)) for box in boxes)

    def close(self) -> None:
        """Give the memory back; arrays that still map it keep it alive."""
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()


def gives_map(model: ModelFile) -> bool:
    """Whether a map can be asked of a model: the scores of its network are in our hands."""
    return model.task == "segmentation" and model.trust == "pieces"


def label_dtype(model: ModelFile) -> str:
    """Return the smallest type that holds every label, or every bit where labels overlap."""
    highest = max((label.value for label in model.labels), default=1)
    most = 8 if model.overlapping else int(np.iinfo(np.uint8).max)
    return "uint8" if highest <= most else "uint16"


def described(model: ModelFile) -> dict[str, object]:
    """Return what a child must know of a model file to load its bundle, as JSON data."""
    return {
        "task": model.task, "trust": model.trust, "overlapping": model.overlapping,
        "roles": [role.role for role in model.inputs], "labels": [label.value for label in model.labels],
        "remove": list(model.runtime.remove), "backend": _backend(model.runtime),
        "score_at_least": model.detection.score_at_least,
        "classes": [one.value for one in model.classes], "activation": model.classification.activation,
        "exclusive": model.classification.exclusive,
    }


def _backend(runtime: Runtime) -> dict[str, object]:
    """What another engine than torch is built for; nothing for torch, whose children serve every setting alike."""
    if runtime.backend == "torch":
        return {}
    return {"name": runtime.backend, "precision": runtime.precision, "window_batch": runtime.sw_batch_size}


def affine_ras_mm(affine_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn (slice, row, column) → LPS into (column, row, slice) → RAS, rounded to float32 as NIfTI stores it."""
    swapped = (LPS_TO_RAS @ affine_lps_mm)[:, [2, 1, 0, 3]]
    return np.asarray(swapped.astype(np.float32), dtype=np.float64)
