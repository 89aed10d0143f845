"""Which series are the channels of a case: chosen by selectors or by a model's own rules, on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.model import InputRole, ModelFile
from dicomnode.domain.study import INDEXED_KEYWORDS, InstanceRecord, SeriesRecord
from dicomnode.domain.volume import SliceStack, Volume
from dicomnode.errors import (
    ConflictingInstances,
    MixedFrameOfReference,
    NoSuitableSeries,
    UnusableAnnotation,
    UnusableDataset,
)
from dicomnode.read.onto import laid, place
from dicomnode.read.series import load
from dicomnode.route.facts import label, slice_images, typical
from dicomnode.route.select import select
from dicomnode.train.dataset.cases import GroupValue
from dicomnode.train.dataset.gather_walk import Found

ANY_IMAGE_TYPE: Final[Mapping[str, tuple[str, ...]]] = {"ImageType": ()}
"""Public data sets hold derived images: without a model's own rules they are welcome."""

ROUNDED_MM: Final = 3
"""Decimals of the spacings that scores are broken down by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel: its name, and what a series must say to fill it."""

    role: str
    wanted: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``ROLE:KEYWORD=PATTERN,KEYWORD=PATTERN``.

        Raises
        ------
        UnusableDataset
            If it is anything else, or a keyword is not indexed.
        """
        role, colon, rest = text.partition(":")
        pairs = [part.partition("=") for part in rest.split(",") if part.strip()]
        unknown = [keyword for keyword, _, _ in pairs if keyword.strip() not in INDEXED_KEYWORDS]
        if not (role.strip() and colon and pairs) or unknown or any(not equals for _, equals, _ in pairs):
            raise UnusableDataset(
                f"--channel {text!r}: allowed is ROLE:KEYWORD=PATTERN[,KEYWORD=PATTERN]"
                + (f"; {unknown[0]!r} is none of the attributes that the node keeps" if unknown else ""))
        return cls(role=role.strip(), wanted={keyword.strip(): value.strip() for keyword, _, value in pairs})

    def fits(self, image: InstanceRecord) -> bool:
        """Whether an image says what is wanted, letter case aside; ``*`` and ``?`` stand for anything."""
        return all(fnmatchcase(image.text(keyword).casefold(), pattern.casefold())
                   for keyword, pattern in self.wanted.items())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Channels:
    """The images of one case: one volume per channel; the first annotated one gives the grid."""

    names: tuple[str, ...]
    volumes: tuple[NDArray[np.generic], ...]
    reference: Volume
    series_uids: tuple[str, ...]


def channels_of(series_uid: str, found: Found, channels: Sequence[Channel], model: ModelFile | None) -> Channels:
    """Load the series that an annotation marks, and the other channels of its study on the same grid.

    Raises
    ------
    UnusableInput
        If a channel has no series or several, or a series cannot be one volume, or lies on another grid.
    """
    bound = _bound(series_uid, found, channels, model)
    loaded = {role.role: _load(found, images, role) for role, images in bound}
    reference = next((volume for volume in loaded.values() if volume.stack.series_uid == series_uid),
                     next(iter(loaded.values())))
    return Channels(names=tuple(loaded), reference=reference,
                    volumes=tuple(_on_grid(name, volume, reference) for name, volume in loaded.items()),
                    series_uids=tuple(volume.stack.series_uid for volume in loaded.values()))


def group_of(series: SeriesRecord, stack: SliceStack) -> dict[str, GroupValue]:
    """Return what scores are broken down by: spacing, maker and the like; nothing that tells of a patient."""
    one = typical(series)
    said = {"maker": one.text("Manufacturer"), "scanner": one.text("ManufacturerModelName"),
            "kernel": one.text("ConvolutionKernel"), "body_part": one.text("BodyPartExamined")}
    return {
        "slice_mm": round(stack.slice_spacing_mm, ROUNDED_MM),
        "pixel_mm": round(max(stack.planes[0].pixel_spacing_mm), ROUNDED_MM), "slices": len(stack.planes),
        **{key: value for key, value in said.items() if value}}


def _bound(series_uid: str, found: Found, channels: Sequence[Channel], model: ModelFile | None
           ) -> list[tuple[InputRole, tuple[InstanceRecord, ...]]]:
    study_uid = found.series[series_uid].instances[0].study_uid
    study = [one for one in found.series.values() if one.instances[0].study_uid == study_uid]
    if model is not None:
        return _as_the_node_would(series_uid, study, model)
    if channels:
        return [(_role(channel.role), _only(channel, study)) for channel in channels]
    series = found.series[series_uid]
    modality = typical(series).text("Modality").lower() or "image"
    return [(_role(modality), _images(series))]


def _as_the_node_would(series_uid: str, study: Sequence[SeriesRecord], model: ModelFile
                       ) -> list[tuple[InputRole, tuple[InstanceRecord, ...]]]:
    candidates = study if len(model.inputs) > 1 else [one for one in study if one.series_uid == series_uid]
    chosen = select(candidates, model, route_when={})
    if chosen.binding is None:
        raise chosen.refusal or NoSuitableSeries("no series fits the model")
    bound = {one.role: one for one in chosen.binding.series}
    if len(bound) < len(model.inputs):
        missing = [role.role for role in model.inputs if role.role not in bound]
        raise NoSuitableSeries(f"no series for {', '.join(missing)}; every channel is needed to train")
    if series_uid not in {one.series_uid for one in bound.values()}:
        raise NoSuitableSeries("the model would take another series of this study than the annotated one")
    images = {image.sop_instance_uid: image for one in study for image in one.instances}
    return [(role, tuple(images[name] for name in bound[role.role].sop_instance_uids)) for role in model.inputs]


def _only(channel: Channel, study: Sequence[SeriesRecord]) -> tuple[InstanceRecord, ...]:
    fitting = [one for one in study if channel.fits(typical(one))]
    if len(fitting) != 1:
        listed = ", ".join(label(one) for one in (fitting or study))
        raise NoSuitableSeries(f"{len(fitting)} series fit channel {channel.role!r} "
                               f"({'those that do' if fitting else 'the study has'}: {listed}); one is needed")
    return _images(fitting[0])


def _images(series: SeriesRecord) -> tuple[InstanceRecord, ...]:
    images, reasons = slice_images(series, ANY_IMAGE_TYPE)
    if not images:
        raise NoSuitableSeries("; ".join(reasons))
    return images


def _role(name: str) -> InputRole:
    return InputRole(role=name, modality="")


def _load(found: Found, images: Sequence[InstanceRecord], role: InputRole) -> Volume:
    torn = [image.sop_instance_uid for image in images if image.sop_instance_uid in found.conflicts]
    if torn:
        raise ConflictingInstances(f"{len(torn)} images are there twice with different content, the first is {torn[0]}")
    paths: list[Path] = [found.paths[image.sop_instance_uid] for image in images]
    return load(paths, role).volume


def _on_grid(name: str, volume: Volume, reference: Volume) -> NDArray[np.generic]:
    """Return a channel's values in the reference's axes; both must have the same voxels."""
    if volume is reference:
        return volume.values_zyx
    frames = volume.stack.frame_of_reference_uid, reference.stack.frame_of_reference_uid
    if frames[0] != frames[1]:
        raise MixedFrameOfReference(f"channel {name!r} has another Frame of Reference than the annotated series; "
                                    "register and resample the series first")
    try:
        placement = place(volume.stack.affine_lps_mm, volume.values_zyx.shape, reference.stack)
        values, where = laid(volume.values_zyx, placement, reference.stack.shape_zyx)
    except UnusableAnnotation as error:
        raise UnusableAnnotation(f"channel {name!r}: {error}") from error
    if values.shape != reference.stack.shape_zyx or any(one.start for one in where):
        raise UnusableAnnotation(f"channel {name!r} covers {values.shape} of {reference.stack.shape_zyx} voxels; "
                                 "every channel must cover the whole grid")
    return values
