"""Any box on any upright grid comes back to where it was drawn; of overlapping boxes the strongest always stays."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dicomnode.infer import boxes

spacings = st.floats(0.3, 6.0)
signs = st.sampled_from((-1.0, 1.0))
places = arrays.arrays(np.float64, (4, 3), elements=st.floats(-300, 300))
sizes = arrays.arrays(np.float64, (4, 3), elements=st.floats(0.5, 60))


@st.composite
def upright(draw):
    """An affine whose axes run along the patient's, in any order and direction."""
    order = draw(st.permutations(range(3)))
    affine = np.zeros((4, 4))
    for column, row in enumerate(order):
        affine[row, column] = draw(spacings) * draw(signs)
    affine[:3, 3], affine[3, 3] = [draw(st.floats(-400, 400)) for _ in range(3)], 1
    return affine


@given(centres=places, extents=sizes, grid=upright(), source=upright())
@settings(max_examples=60, deadline=None)
def test_a_box_learned_on_one_grid_lies_on_another_where_it_was_drawn(centres, extents, grid, source):
    learned = boxes.to_grid(np.concatenate([centres, extents], axis=1), grid)
    back = boxes.to_source(learned, grid, source)
    assert (back[:, :3] < back[:, 3:]).all()
    middles = ((back[:, :3] + back[:, 3:]) / 2)[:, ::-1]
    world = middles @ source[:3, :3].T + source[:3, 3]
    assert np.allclose(world * boxes.RAS_LPS, centres, atol=1e-6)
    widths = (back[:, 3:] - back[:, :3])[:, ::-1] @ np.abs(source[:3, :3]).T
    assert np.allclose(widths, extents, atol=1e-6)


def middle_in(inner, outer) -> bool:
    middle = (inner[:3] + inner[3:]) / 2
    return bool((outer[:3] < middle).all() and (middle < outer[3:]).all())


@given(corners=places, extents=sizes, scores=arrays.arrays(np.float64, 4, elements=st.floats(0, 1)),
       nms_iou=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_what_stays_overlaps_little_and_what_goes_overlaps_something_stronger(corners, extents, scores, nms_iou):
    drawn = np.concatenate([corners / 10, corners / 10 + extents], axis=1)
    kept = boxes.strongest(drawn, scores, nms_iou)
    shared = boxes.overlaps(drawn, drawn)
    assert all(shared[a, b] <= nms_iou for a in kept for b in kept if a != b)
    for gone in set(range(4)) - set(kept.tolist()):
        assert any(scores[one] >= scores[gone] and (shared[gone, one] > nms_iou or middle_in(drawn[gone], drawn[one])
                                                    or middle_in(drawn[one], drawn[gone])) for one in kept)
    volumes = (drawn[:, 3:] - drawn[:, :3]).prod(axis=1)
    for one, other in ((a, b) for a in kept for b in kept if a != b):
        assert not middle_in(drawn[one], drawn[other]) or volumes[one] < volumes[other] / 15
    assert (np.diff(scores[kept]) <= 0).all()
