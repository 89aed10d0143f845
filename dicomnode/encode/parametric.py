"""A number for each voxel as a Parametric Map on its source's own slices, float32 (PS3.3 A.75)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import highdicom as hd
import numpy as np
from highdicom import pm
from highdicom.sr import CodeContentItem
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.domain.findings import EncodedObject, ModelFindings, ParametricMap
from dicomnode.encode import sources as images
from dicomnode.encode.codes import FINDING, FINDING_SITE, UNITY, concept
from dicomnode.encode.reasons import SCHEME, scheme_identification
from dicomnode.encode.series import Role, Stamp, encoding, finish, identity
from dicomnode.encode.template import STAMP_SHAPE, complete, places, state_loss

PM_SLOT: Final = 20
FLOAT_PIXEL_DATA: Final = (0x7FE0, 0x0008)
LABEL: Final = "FRACTION"


def encode_parametric(findings: Sequence[ModelFindings], sources: Mapping[str, Sequence[Dataset]], stamp: Stamp
                      ) -> tuple[EncodedObject, ...]:
    """Return a parametric map for each model that gives one: a frame for each slice, naming its source image.

    Stored values are the real ones, fractions without unit; what they are is said by a code, and of which label.

    Raises
    ------
    EncodingError
        If a header is missing or unfit.
    """
    made = []
    for one in findings:
        if one.parametric is not None:
            with encoding("the parametric map", one.stack.series_uid):
                made.append(_encoded(one, one.parametric, sources[one.stack.series_uid], stamp))
    return tuple(made)


def _encoded(findings: ModelFindings, values: ParametricMap, sources: Sequence[Dataset], stamp: Stamp
             ) -> EncodedObject:
    name, stack = findings.provenance.model_name, findings.stack
    role = Role(kind="PM", group=f"pm:{name}", name=f"pm|{name}", slot=PM_SLOT + stamp.place_of(name),
                subject=f"{values.quantity.meaning.lower().partition(' ')[0]} map", models=(name,))
    found = images.by_instance(sources, stack)
    first = found[stack.planes[0].instance.sop_instance_uid]
    head = images.head_of(first)
    light = images.multi_frame(images.unnamed(head), stack, first) if images.is_multiframe(first) \
        else images.single_frame(images.unnamed(head), stack, found)
    for image in light:
        image.add_new("Rows", "US", STAMP_SHAPE[0])
        image.add_new("Columns", "US", STAMP_SHAPE[1])
    made = pm.ParametricMap(
        source_images=light, pixel_array=np.zeros((len(stack.planes), *STAMP_SHAPE), np.float32),
        plane_positions=[hd.PlanePositionSequence("PATIENT", plane.position_lps_mm.tolist()) for plane in stack.planes],
        contains_recognizable_visual_features=False, real_world_value_mappings=[_mapping(values)],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        transfer_syntax_uid=ExplicitVRLittleEndian, content_label="AI_MAP",
        content_description=f"{name} {findings.provenance.model_version}"[:64],
        **identity(stamp, role))
    made.Rows, made.Columns = stack.rows, stack.columns
    complete(made, head, findings, stamp, role)
    images.state_body_part(made, head)
    state_loss(made, sources)
    if values.quantity.scheme == SCHEME:
        made.CodingSchemeIdentificationSequence = [scheme_identification()]
    del made.FloatPixelData
    order = _upwards(made, findings)
    return finish(made, head, stamp, role, tail=_pixels(values, order))


def _mapping(values: ParametricMap) -> pm.RealWorldValueMapping:
    """Return what the numbers mean: the quantity, and the label where there is one (PS3.3 C.7.6.16.2.11)."""
    names = ", ".join(label.name for label in values.labels)
    mapping = pm.RealWorldValueMapping(
        lut_label=LABEL, lut_explanation=f"{values.quantity.meaning}: {names}"[:64], unit=concept(UNITY),
        value_range=(0.0, 1.0), quantity_definition=concept(values.quantity))
    if len(values.labels) == 1:
        (label,) = values.labels
        mapping.QuantityDefinitionSequence.append(CodeContentItem(name=concept(FINDING), value=concept(label.type)))
        if label.region:
            mapping.QuantityDefinitionSequence.append(
                CodeContentItem(name=concept(FINDING_SITE), value=concept(label.region)))
    return mapping


def _upwards(made: Dataset, findings: ModelFindings) -> list[int]:
    """Put the frames in the order of the slices, and return the slices.

    highdicom puts the last slice first. dcmqi 1.5.7, with which 3D Slicer reads maps, takes them for the first.
    """
    slices = places(findings)
    found = []
    for group in made.PerFrameFunctionalGroupsSequence:
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        found.append((slices[str(image.ReferencedSOPInstanceUID), int(image.get("ReferencedFrameNumber") or 1)], group))
    found.sort(key=lambda pair: pair[0])
    for index, (_, group) in enumerate(found, start=1):
        group.FrameContentSequence[0].DimensionIndexValues = [index]
    made.PerFrameFunctionalGroupsSequence = [group for _, group in found]
    return [k for k, _ in found]


def _pixels(values: ParametricMap, order: Sequence[int]) -> Iterator[bytes]:
    """Yield the element Float Pixel Data, frame by frame."""
    yield struct.pack("<HH2s2xI", *FLOAT_PIXEL_DATA, b"OF", values.values_zyx.nbytes)
    for k in order:
        yield values.values_zyx[k].astype("<f4").tobytes()
