from __future__ import annotations

from io import BytesIO
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, dcmwrite

from dicomnode.errors import CannotUnderstand
from dicomnode.receive.walk import WANTED, Walk
from tests.builders import dataset

TEXTS = st.text("abcdefghij ", max_size=12)
UIDS = st.from_regex(r"\A[12](\.(0|[1-9][0-9]{0,5})){1,6}\Z")


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 2) -> Dataset:
    """Any data set with text, private, binary and nested elements, of defined and undefined length."""
    built = dataset(SOPClassUID=draw(UIDS), SOPInstanceUID=draw(UIDS), StudyInstanceUID=draw(UIDS),
                    SeriesInstanceUID=draw(UIDS), PatientComments=draw(TEXTS), EncapsulatedDocument=draw(st.binary()))
    if draw(st.booleans()):
        built.private_block(0x0009, "MAKER", create=True).add_new(1, "UN", draw(st.binary(max_size=9)) + b"\0")
    if depth:
        items = draw(st.lists(data_sets(depth=depth - 1), max_size=2))
        for item in items:
            item.is_undefined_length_sequence_item = draw(st.booleans())
        built.ReferencedSeriesSequence = Sequence(items)
        built["ReferencedSeriesSequence"].is_undefined_length = draw(st.booleans())
    return built


def encoded(built: Dataset, *, implicit: bool) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, built, implicit_vr=implicit, little_endian=True)
    return buffer.getvalue()


def boundaries(built: Dataset, *, implicit: bool) -> set[int]:
    """Where a top-level element ends: the only places at which a data set may end."""
    ends, first = {0}, Dataset()
    for element in built:
        first.add(element)
        ends.add(len(encoded(first, implicit=implicit)))
    return ends


def walked(data: bytes, cuts: list[int], *, implicit: bool) -> dict[int, str]:
    walk = Walk(implicit=implicit)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        walk.feed(memoryview(data)[start:end])
    walk.finish()
    return walk.uids


@given(data_sets(), st.lists(st.integers(0, 1 << 16), max_size=6), st.booleans())
def test_the_four_uids_of_any_data_set_are_found_however_it_is_cut(built: Dataset, cuts: list[int], implicit: bool):  # noqa: FBT001
    found = walked(encoded(built, implicit=implicit), cuts, implicit=implicit)
    assert found == {tag: str(built[tag].value) for tag in WANTED}


@given(data_sets(), st.integers(0, 1 << 16), st.lists(st.integers(0, 1 << 16), max_size=3), st.booleans())
def test_any_data_set_that_ends_within_an_element_is_refused(
    built: Dataset, end: int, cuts: list[int], implicit: bool,  # noqa: FBT001
):
    whole = encoded(built, implicit=implicit)
    end %= len(whole) + 1
    if end in boundaries(built, implicit=implicit):
        walked(whole[:end], cuts, implicit=implicit)
    else:
        with pytest.raises(CannotUnderstand):
            walked(whole[:end], cuts, implicit=implicit)
