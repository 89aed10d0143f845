"""What a sliding window takes of a GPU: chosen by what is free, measured on the device."""

from __future__ import annotations

import pytest
import torch

from dicomnode.infer.memory import Window, fit, free_bytes, seen, stitched_bytes

MB = 1 << 20
IMAGE = (1, 1, 128, 128, 128)
STITCHED = stitched_bytes(IMAGE, 3)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def test_what_is_stitched_is_image_scores_and_counts_in_float32():
    assert STITCHED == 128**3 * (1 + 3 + 1) * 4


def test_with_room_enough_the_windows_go_as_wanted_and_nothing_is_said():
    chosen = fit(Window(bytes_=100 * MB, channels_out=3), free_bytes=8000 * MB, image_shape=IMAGE, wanted=4)
    assert (chosen.window_batch, chosen.stitch_on_cpu, chosen.note) == (4, False, "")


def test_fewer_windows_go_at_a_time_where_not_all_fit():
    free = int((STITCHED + 250 * MB) / 0.8)
    chosen = fit(Window(bytes_=100 * MB, channels_out=3), free_bytes=free, image_shape=IMAGE, wanted=4)
    assert (chosen.window_batch, chosen.stitch_on_cpu) == (2, False)
    assert chosen.note == f"{free // MB} MB of GPU memory were free: 2 of 4 windows at a time"


def test_windows_are_stitched_on_the_cpu_where_the_whole_output_does_not_fit():
    free = 180 * MB
    chosen = fit(Window(bytes_=120 * MB, channels_out=105), free_bytes=free, image_shape=IMAGE, wanted=1)
    assert (chosen.window_batch, chosen.stitch_on_cpu) == (1, True)
    assert "stitched on the CPU" in chosen.note


def test_one_window_is_tried_even_where_it_seems_not_to_fit():
    chosen = fit(Window(bytes_=900 * MB, channels_out=3), free_bytes=100 * MB, image_shape=IMAGE, wanted=4)
    assert chosen.window_batch == 1


@pytest.mark.gpu
@needs_gpu
def test_a_window_is_measured_on_the_gpu():
    device = torch.device("cuda:0")
    network = torch.nn.Conv3d(1, 8, 3, padding=1).to(device).eval()
    with torch.no_grad():
        window = seen(network, (1, 1, 64, 64, 64), device)
    assert window.channels_out == 8
    assert 8 * 64**3 * 4 <= window.bytes_ < free_bytes(device)
