"""Many structures become one Label Map Segmentation (PS3.3 A.92): one value per voxel, run-length encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.uid import RLELossless

from dicomnode.domain.findings import EncodedObject, Mask
from dicomnode.encode.drawing import Drawing
from dicomnode.encode.frames import encapsulated, per_frame_groups, planes_of, run_lengths
from dicomnode.encode.segments import Segment, numbers_of
from dicomnode.encode.series import Role, Stamp, finish
from dicomnode.encode.template import places, template

BACKGROUND_RGB: Final = (0, 0, 0)
BYTE_VALUES: Final = 256


def encode_labelmap(drawing: Drawing, numbers_zyx: Mask, sources: Sequence[Dataset], stamp: Stamp, *, slot: int
                    ) -> EncodedObject:
    """Return all segments of a drawing as one object, one frame per slice that has voxels.

    Value 0 is the background, a segment of its own as the standard wants (C.8.20.2), and the padding value.

    Parameters
    ----------
    drawing:
        Of segments that share no voxel.
    numbers_zyx:
        Its label map.

    Notes
    -----
    Colours stand in a palette: OHIF 3.13 gives each structure the colour of its neighbour where they stand in the
    segments, and its own where there is a palette.
    """
    findings = drawing.findings
    name = findings.provenance.model_name
    role = Role(kind="LABELMAP", group=f"seg:{name}", name=f"labelmap|{name}", slot=slot, subject="segmentation",
                models=(name,))
    made, head = template(findings, drawing.segments, drawing.slices(drawing.segments), sources, stamp, role,
                          palette=_palette(drawing.segments))
    planes = planes_of(made, places(findings))
    for keyword in ("PerFrameFunctionalGroupsSequence", "PixelData"):
        delattr(made, keyword)
    tail = chain(per_frame_groups([plane.item(0) for plane in planes]),
                 encapsulated(run_lengths(numbers_zyx[plane.k]) for plane in planes))
    made.file_meta.TransferSyntaxUID = RLELossless
    return replace(finish(made, head, stamp, role, tail=tail), segments=numbers_of(name, drawing.segments))


def _palette(segments: Sequence[Segment]) -> hd.PaletteColorLUTTransformation:
    """Return the colour of each value; an even number of entries, so that each table has an even length."""
    colours = [BACKGROUND_RGB, *(one.label.colour_rgb for one in segments)]
    colours += [BACKGROUND_RGB] * (len(colours) % 2)
    wide = len(colours) > BYTE_VALUES  # more entries need entries of 16 bits, of which 255 is 65535
    tables = np.array(colours, np.uint16).T * 257 if wide else np.array(colours, np.uint8).T
    red, green, blue = (hd.PaletteColorLUT(first_mapped_value=0, lut_data=np.ascontiguousarray(table), color=colour)
                        for table, colour in zip(tables, ("red", "green", "blue"), strict=True))
    return hd.PaletteColorLUTTransformation(red_lut=red, green_lut=green, blue_lut=blue)
