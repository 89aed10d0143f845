"""Which objects a set of results has: one function per kind, in the order in which peers get them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from dicomnode.domain.findings import EncodedObject, ModelFindings
from dicomnode.domain.model import ModelFile
from dicomnode.domain.volume import Volume
from dicomnode.encode.capture import encode_capture
from dicomnode.encode.gsps import encode_gsps
from dicomnode.encode.parametric import encode_parametric
from dicomnode.encode.rtstruct import encode_rtstruct
from dicomnode.encode.seg import encode_segs
from dicomnode.encode.series import Stamp
from dicomnode.encode.sr import encode_reports
from dicomnode.run.manifests import manifests


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What every encoder works from.

    Parameters
    ----------
    models:
        One per findings.
    volumes, sources:
        Images and headers by SeriesInstanceUID.
    audiences:
        The kinds of objects that each peer gets, in its order of preference.
    """

    findings: tuple[ModelFindings, ...]
    models: tuple[ModelFile, ...]
    volumes: Mapping[str, Volume]
    sources: Mapping[str, Sequence[Dataset]]
    stamp: Stamp
    audiences: tuple[tuple[str, ...], ...]

    @property
    def wanted(self) -> frozenset[str]:
        """The kinds of objects that somebody will get."""
        return frozenset(kind for kinds in self.audiences for kind in kinds)

    def allowing(self, output: str) -> tuple[ModelFindings, ...]:
        """Return the findings of the models whose file does not forbid what peers take anyway: ``seg``, ``sr``."""
        return tuple(f for f, m in zip(self.findings, self.models, strict=True) if getattr(m.outputs, output))

    def asking(self, output: str, kind: str) -> tuple[ModelFindings, ...]:
        """Return all findings where a peer gets this kind, else those of the models whose file asks for it."""
        return self.findings if kind in self.wanted else self.allowing(output)


def encode_all(material: Material) -> tuple[EncodedObject, ...]:
    """Encode everything that somebody will get, or that a model file asks for, in the order of sending.

    Raises
    ------
    EncodingError
        The findings could not be written: our fault.
    """
    segmentations = _segmentations(material)
    results = (*segmentations, *_reports(material, segmentations), *_captures(material), *_boxes(material),
               *_contours(material), *_maps(material))
    return (*results, *_manifests(material, results))


def _segmentations(material: Material) -> tuple[EncodedObject, ...]:
    return encode_segs(material.allowing("seg"), material.sources, material.stamp, material.wanted)


def _reports(material: Material, segmentations: Sequence[EncodedObject]) -> tuple[EncodedObject, ...]:
    return encode_reports(material.allowing("sr"), material.sources, material.stamp, segmentations)


def _captures(material: Material) -> tuple[EncodedObject, ...]:
    pictured = material.asking("capture", "SC")
    made = encode_capture(pictured, material.volumes, material.sources, material.stamp) if pictured else None
    return (made,) if made else ()


def _boxes(material: Material) -> tuple[EncodedObject, ...]:
    return encode_gsps(material.asking("gsps", "GSPS"), material.volumes, material.sources, material.stamp)


def _contours(material: Material) -> tuple[EncodedObject, ...]:
    return encode_rtstruct(material.asking("rtstruct", "RTSTRUCT"), material.sources, material.stamp)


def _maps(material: Material) -> tuple[EncodedObject, ...]:
    return encode_parametric(material.asking("parametric", "PM"), material.sources, material.stamp)


def _manifests(material: Material, results: Sequence[EncodedObject]) -> tuple[EncodedObject, ...]:
    """Return what names all the others, and is sent last."""
    source = material.sources[material.findings[0].stack.series_uid][0]
    return manifests(results, material.audiences, source, material.stamp)
