"""Which objects a set of results has: one function per kind, in the order in which peers get them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

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
from dicomnode.errors import EncodingError
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


LeftOut = Callable[[str, EncodingError], None]


def encode_all(material: Material, left_out: LeftOut | None = None) -> tuple[EncodedObject, ...]:
    """Encode everything that somebody will get, or that a model file asks for, in the order of sending.

    Parameters
    ----------
    left_out:
        Called with each kind of ``domain.node.OPTIONAL`` that could not be written, and why: segmentations and reports
        carry the findings, and go out without it. Where it is None, the error is raised.

    Raises
    ------
    EncodingError
        The findings could not be written: our fault.
    """
    segmentations = _segmentations(material)
    results = [*segmentations, *_reports(material, segmentations)]
    for kind, encode in (("SC", _captures), ("GSPS", _boxes), ("RTSTRUCT", _contours), ("PM", _maps)):
        results += _unless_it_fails(kind, partial(encode, material), left_out)
    return (*results, *_unless_it_fails("KOS", partial(_manifests, material, results), left_out))


def _unless_it_fails(kind: str, encode: Callable[[], tuple[EncodedObject, ...]], left_out: LeftOut | None
                     ) -> tuple[EncodedObject, ...]:
    try:
        return encode()
    except EncodingError as error:
        if left_out is None:
            raise
        left_out(kind, error)
        return ()


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
