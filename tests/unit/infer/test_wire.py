"""Arrays travel as sealed memory, messages as JSON."""

from __future__ import annotations

import mmap
import os

import numpy as np
import pytest

from dicomnode.infer import wire


def test_a_message_arrives_with_its_descriptors():
    ours, theirs = wire.pair()
    fd = wire.share(np.arange(6, dtype=np.int16).reshape(1, 2, 3))
    with ours, theirs:
        wire.send(ours, {"do": "run", "affine": [0.1 + 0.2]}, [fd])
        message, (received,) = wire.receive(theirs)
    assert message == {"do": "run", "affine": [0.1 + 0.2]}
    assert wire.view(received, "int16", (1, 2, 3)).tolist() == [[[0, 1, 2], [3, 4, 5]]]
    os.close(fd)
    os.close(received)


def test_the_end_of_the_other_side_is_an_end_of_file():
    ours, theirs = wire.pair()
    theirs.close()
    with ours, pytest.raises(EOFError):
        wire.receive(ours)


def test_a_shared_volume_cannot_be_changed_by_whoever_receives_it():
    fd = wire.share(np.zeros((2, 2, 2), dtype=np.float32))
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(PermissionError):
        mmap.mmap(fd, 32, access=mmap.ACCESS_WRITE)
    os.close(fd)


def test_the_memory_for_labels_is_writable_but_keeps_its_size():
    fd = wire.allocate(8)
    wire.view(fd, "uint8", (2, 2, 2), writable=True)[1] = 7
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 16)
    assert wire.view(fd, "uint8", (2, 2, 2)).sum() == 28
    os.close(fd)


def test_an_array_that_is_not_contiguous_is_shared_in_its_logical_order():
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)[::-1, :, ::2]
    fd = wire.share(array)
    assert np.array_equal(wire.view(fd, "int16", array.shape), array)
    os.close(fd)
